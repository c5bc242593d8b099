"""The HTML of the viewer: what stands beside the scene, and a file that needs no server.

viser's own export holds the scene alone: without a server it has no panel and no clicks. So
`write_page` adds the facts and the strip of pictures, and a script of a few lines that looks
through a camera by viser's documented URL parameters (`initialCameraPosition`, …): it opens the
same file again from that camera. The file needs no network.

Names and metadata come from a stranger's archive, so every value is escaped here.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from geogen_hf.cameras.poses import FloatArray
from geogen_hf.durable import write_durably, writing
from geogen_hf.viewer.frustums import Frustum, IdentityFrustums

_LONGEST = 120  # characters of a name that are shown
_STRIP_PX = 160  # side of a picture in the strip; drawn at half of that
_LONGEST_PX = 768  # of a picture in the file; more is not seen in a window


def short(name: str) -> str:
    """Cut a name that is too long to show."""
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"


def facts_table(shown: IdentityFrustums, convention: Sequence[str]) -> str:
    """Describe an identity, and how its cameras were read, as an HTML table without scripts."""
    intrinsics = np.stack([frustum.intrinsics for frustum in shown.frustums])
    sizes = sorted({frustum.size_wh for frustum in shown.frustums})
    width = np.array([frustum.size_wh[0] for frustum in shown.frustums])
    fov_deg = np.degrees(2 * np.arctan(width / (2 * intrinsics[:, 0, 0])))
    places = {"fx": (0, 0), "fy": (1, 1), "cx": (0, 2), "cy": (1, 2)}
    px = ", ".join(f"{name} {_range(intrinsics[:, i, j])}" for name, (i, j) in places.items())
    rows = {
        "Identity": short(shown.subject_id),
        "Split": shown.split,
        "Views": f"{len(width)} of {', '.join(f'{wide} × {high}' for wide, high in sizes)} px",
        "Intrinsics": f"{px} px; {_range(fov_deg)}° across",
        "Azimuth": f"0° is where the world's {'xyz'[np.argmax(shown.orbit.front)]} axis points",
        "Distance": f"{shown.distance:.4g} (median, unit of the release)",
    }
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items()
    )
    head, *sentences = convention
    paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return (
        f'<div class="geogen-facts">{_PANEL_STYLE}<table>{cells}</table>'
        f"<details open><summary>{escape(head)}</summary>{paragraphs}</details></div>"
    )


def _range(values: FloatArray) -> str:
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return low if low == high else f"{low}–{high}"


def strip(frustums: Sequence[Frustum]) -> str:
    """Show the pictures by azimuth, four in a row, as HTML that holds them."""
    cells = "".join(f"<div>{_labelled(frustum, _STRIP_PX)}</div>" for frustum in frustums)
    return f'{_PANEL_STYLE}<div class="geogen-strip">{cells}</div>'


def _labelled(frustum: Frustum, longest_px: int) -> str:
    """A picture, reduced and held by the HTML itself, with its caption."""
    buffer = io.BytesIO()
    frustum.reduced(longest_px).save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="">{escape(caption(frustum))}'


def caption(frustum: Frustum) -> str:
    """Name a view by its number and its azimuth."""
    return f"{frustum.view_id} · {frustum.azimuth_deg:.0f}°"


def write_page(
    path: Path, scene_html: str, shown: IdentityFrustums, convention: Sequence[str]
) -> Path:
    """Write the file, whole or not at all, around what viser's `scene.as_html()` gives."""
    title = f"<title>{escape(short(shown.subject_id))} · GeoGen</title>"
    beside = _beside(shown, convention)
    # viser's page has a title and a body of its own; a browser takes the first title it meets.
    page = scene_html.replace("<head>", f"<head>{title}", 1)
    end = page.rindex("</body>")
    with writing(path, resumes=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, (page[:end] + beside + page[end:]).encode())
    return path


def _beside(shown: IdentityFrustums, convention: Sequence[str]) -> str:
    buttons = "".join(
        f'<button type=button data-view={index} title="Look through this camera">'
        f"{_labelled(frustum, _LONGEST_PX)}</button>"
        for index, frustum in enumerate(shown.frustums)
    )
    cameras = json.dumps(
        [
            {
                "position": frustum.position.tolist(),
                "lookAt": frustum.target.tolist(),
                "up": frustum.up.tolist(),
                # Just behind the picture in the scene, which the one laid over it replaces.
                "near": 1.01 * frustum.depth,
                "far": 100 * shown.distance,
                "tangents": frustum.tangents,
            }
            for frustum in shown.frustums
        ]
    )
    return (
        f"{_PAGE_STYLE}<aside id=geogen-panel>{facts_table(shown, convention)}</aside>"
        f"<div id=geogen-over hidden><img alt=''></div>"
        f"<footer id=geogen-strip>{buttons}</footer>"
        f"<div id=geogen-blend hidden><label>Opacity <input type=range min=0 max=1 step=.02 "
        f"value=.6></label><button type=button>Overview</button></div>"
        # Inside a script only < could end it.
        f"<script>const geogenCameras={cameras.replace('<', chr(92) + 'u003c')};{_SCRIPT}</script>"
    )


_PANEL_STYLE = """<style>
.geogen-facts{font-size:12px;line-height:1.45;padding:0 .6em .4em}
.geogen-facts table{border-collapse:collapse;width:100%}
.geogen-facts th{text-align:left;vertical-align:top;font-weight:600;padding:2px .8em 2px 0}
.geogen-facts td{padding:2px 0;overflow-wrap:anywhere}
.geogen-facts summary{font-weight:600;margin-top:.5em;cursor:pointer;overflow-wrap:anywhere}
.geogen-facts p{margin:.4em 0;overflow-wrap:anywhere}
.geogen-strip{display:grid;grid-template-columns:repeat(4,1fr);gap:6px;padding:2px .75em 8px;
 font-size:11px;text-align:center}
.geogen-strip img{width:100%;display:block;border-radius:3px}
</style>"""

_PAGE_STYLE = """<style>
#root{position:fixed;left:310px;top:0;width:calc(100% - 310px);height:calc(100% - 130px)}
#geogen-panel,#geogen-strip,#geogen-blend{font-family:system-ui,sans-serif;color:#222;
 background:#fff;position:fixed;z-index:5;box-sizing:border-box}
#geogen-panel{left:0;top:0;bottom:130px;width:310px;overflow:auto;padding:12px 4px;
 border-right:1px solid #ddd}
#geogen-strip{left:0;right:0;bottom:0;height:130px;display:flex;gap:6px;
 justify-content:safe center;padding:6px;overflow-x:auto;border-top:1px solid #ddd}
#geogen-strip button{border:2px solid transparent;background:none;padding:2px;font:12px system-ui;
 cursor:pointer;text-align:center;flex:0 0 auto;border-radius:4px;color:inherit}
#geogen-strip button:hover{border-color:#e67e22}
#geogen-strip button.chosen{border-color:#2d55c8}
#geogen-strip img{display:block;height:92px;margin-bottom:2px}
#geogen-blend{right:10px;top:54px;border-radius:6px;padding:8px 10px;font-size:13px;
 box-shadow:0 0 8px rgba(0,0,0,.2)}
#geogen-blend input{vertical-align:middle;margin-right:10px}
#geogen-over{position:fixed;left:310px;right:0;top:0;bottom:130px;overflow:hidden;pointer-events:none;z-index:4}
#geogen-over img{position:absolute;max-width:none}
#geogen-panel[hidden],#geogen-over[hidden],#geogen-blend[hidden]{display:none}
@media(max-width:700px){#geogen-panel{display:none}#root,#geogen-over{left:0;width:100%}}
</style>"""

_SCRIPT = """
(() => {
  const asked = new URLSearchParams(location.search).get("view");
  const index = asked === null ? -1 : Number(asked);
  const find = (id) => document.getElementById("geogen-" + id);
  const buttons = [...find("strip").children];
  const size = () => document.getElementById("root").getBoundingClientRect();
  const fov = (camera) => {
    const [left, top, right, bottom] = camera.tangents, aspect = size().width / size().height;
    return 2 * Math.atan(1.04 * Math.max(-top, bottom, -left / aspect, right / aspect));
  };
  buttons.forEach((button, view) => button.addEventListener("click", () => {
    const camera = geogenCameras[view];
    location.search = new URLSearchParams({
      view, initialCameraPosition: camera.position, initialCameraLookAt: camera.lookAt,
      initialCameraUp: camera.up, initialCameraFov: fov(camera),
      initialCameraNear: camera.near, initialCameraFar: camera.far,
    });
  }));
  const camera = geogenCameras[index];
  if (!camera) return;
  const angle = Number(new URLSearchParams(location.search).get("initialCameraFov"));
  const image = find("over").firstChild, slider = find("blend").querySelector("input");
  const place = () => {
    const [left, top, right, bottom] = camera.tangents;
    const {width, height} = size(), scale = height / 2 / Math.tan(angle / 2);
    Object.assign(image.style, {
      left: width / 2 + left * scale + "px", top: height / 2 + top * scale + "px",
      width: (right - left) * scale + "px", height: (bottom - top) * scale + "px",
      opacity: slider.value,
    });
  };
  image.src = buttons[index].firstChild.src;
  buttons[index].classList.add("chosen");
  find("over").hidden = find("blend").hidden = false;
  place();
  addEventListener("resize", place);
  slider.addEventListener("input", place);
  find("blend").querySelector("button").addEventListener("click", () => { location.search = ""; });
  const leave = (event) => { if (event.target.tagName === "CANVAS") find("over").hidden = true; };
  addEventListener("pointerdown", leave, true);
  addEventListener("wheel", leave, true);
})();
"""
