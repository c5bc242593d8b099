"""Write an identity as one HTML file: viser's static client with its scene, and what stands beside.

viser's own export holds the scene alone: without a server it has no panel and no clicks. So the
facts and the strip of pictures are added here, and a script of a few lines looks through a camera
by viser's documented URL parameters (`initialCameraPosition`, …): it opens the same file again from
that camera. The file needs no network.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from geogen_hf.durable import write_durably
from geogen_hf.viewer.frustums import Frustum, IdentityFrustums
from geogen_hf.viewer.panel import ConventionText, caption, data_url, facts_table, short

_LONGEST_PX = 768  # of a picture in the file; more is not seen in a window


def write_page(
    path: Path, scene_html: str, shown: IdentityFrustums, convention: ConventionText
) -> Path:
    """Write the file, whole or not at all.

    Args:
        path: Where to.
        scene_html: What viser's `scene.as_html()` gives.
        shown: The identity in that scene.
        convention: How the cameras were read.

    Returns:
        The same path.
    """
    title = f"<title>{escape(short(shown.subject_id))} · GeoGen</title>"
    beside = _beside(shown, convention)
    # viser's page has a title and a body of its own; a browser takes the first title it meets.
    page = scene_html.replace("<head>", f"<head>{title}", 1)
    end = page.rindex("</body>")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, (page[:end] + beside + page[end:]).encode())
    return path


def _beside(shown: IdentityFrustums, convention: ConventionText) -> str:
    strip = "".join(_thumbnail(index, f) for index, f in enumerate(shown.frustums))
    cameras = json.dumps([_camera(frustum, shown) for frustum in shown.frustums])
    return (
        f"{_STYLE}<aside id=geogen-panel>{facts_table(shown, convention)}</aside>"
        f"<div id=geogen-over hidden><img alt=''></div>"
        f"<footer id=geogen-strip>{strip}</footer>"
        f"<div id=geogen-blend hidden><label>Opacity <input type=range min=0 max=1 step=.02 "
        f"value=.6></label><button type=button>Overview</button></div>"
        # Inside a script only < could end it.
        f"<script>const geogenCameras={cameras.replace('<', chr(92) + 'u003c')};{_SCRIPT}</script>"
    )


def _thumbnail(index: int, frustum: Frustum) -> str:
    return (
        f'<button type=button data-view={index} title="Look through this camera">'
        f'<img src="{data_url(frustum.pixels, _LONGEST_PX)}" alt="">{escape(caption(frustum))}'
        "</button>"
    )


def _camera(frustum: Frustum, shown: IdentityFrustums) -> dict[str, object]:
    target = frustum.position + frustum.distance * frustum.forward
    return {
        "position": frustum.position.tolist(),
        "lookAt": target.tolist(),
        "up": frustum.up.tolist(),
        # Just behind the picture in the scene, which the one laid over the scene replaces.
        "near": 1.01 * frustum.depth,
        "far": 100 * shown.distance,
        "tangents": frustum.tangents,
    }


_STYLE = """<style>
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
