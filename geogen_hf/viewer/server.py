"""Run the viewer: a server on loopback, the browser's controls, one identity at a time.

`view` opens a place and starts the server; `Viewer` is the handle that stops it, saves the scene
as HTML and shows it in a notebook. The browser's part is viser's; this module says what its
controls do. Open it to change them.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import io
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from geogen_hf.durable import absolute_path
from geogen_hf.errors import GeoGenError, PartsError, UsageError, install, one_line
from geogen_hf.export.exported import PROVENANCE, ExportedFolder
from geogen_hf.export.lookup import open_export
from geogen_hf.release.convention import CameraOptions
from geogen_hf.release.release import Identities, open_release
from geogen_hf.source.parts import Place
from geogen_hf.viewer.drawing import Drawing
from geogen_hf.viewer.frustums import IdentityFrustums, hull_points, place_pictures
from geogen_hf.viewer.page import caption, facts_table, short, strip, write_page

DEFAULT_PORT = 8080
_PANEL_PX = 340  # width of the panel
_MOST_LISTED = 200  # names in the list; the search finds the others
_LOOPBACK = "127.0.0.1"
_STOP_S = 0.3
OVERVIEW_FOV_RAD = 0.75


class Viewer:
    """A running viewer. A context manager; in a notebook it shows itself inline.

    Attributes:
        url: Where a browser finds it.
    """

    def __init__(
        self,
        identities: Identities,
        convention: Sequence[str],
        subjects: Sequence[str],
        host: str,
        port: int,
    ) -> None:
        import viser

        self._identities, self._convention = identities, convention
        self._subjects = self._listed = subjects
        self._lock = threading.RLock()  # callbacks run in threads; a place is read by one
        self._closed = False
        self._wanted = subjects[0]
        self._shown = place_pictures(identities[subjects[0]])
        # viser announces itself on standard output, where only the command line prints.
        with contextlib.redirect_stdout(io.StringIO()):
            self._server = viser.ViserServer(host=host, port=port, verbose=False)
        self.url = _url(host, self._server.get_port())
        atexit.register(self.close)  # before viser's own, which would print
        with self._lock:  # a browser may be there already
            self._build_controls()
            self._draw()

    @property
    def subject_id(self) -> str:
        """The identity that is shown."""
        return self._shown.subject_id

    def show(self, subject_id: str) -> None:
        """Show another identity.

        Raises:
            UnknownSubjectError: No identity has this name.
            ArchiveError: An image is damaged.
            FetchError: A part cannot be read.
            ImageError: An image does not decode.
        """
        self._wanted = subject_id
        with self._lock:
            if subject_id != self._wanted:
                return  # another one was asked for while this one waited
            self._shown = place_pictures(self._identities[subject_id])
            with self._server.atomic():
                self._drawing.remove()
                self._draw()

    def save_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the identity that is shown as one HTML file that needs no server and no network.

        Args:
            path: The file; replaced if it exists, made whole or not at all.

        Returns:
            The same path.
        """
        self._adding.join()
        with self._lock:
            self._drawing.choose(None)
            scene = self._server.scene.as_html()
            return write_page(absolute_path(path), scene, self._shown, self._convention)

    def close(self) -> None:
        """Stop the server and close the place."""
        atexit.unregister(self.close)
        self._closed = True
        with contextlib.redirect_stdout(io.StringIO()):
            stopping = threading.Thread(target=self._server.stop, daemon=True)
            stopping.start()
            stopping.join(_STOP_S)
            _drop_idle_connections(self._server.get_event_loop())
            stopping.join(_STOP_S)
        self._identities.close()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        """Show the viewer inline in a notebook."""
        return (
            f'<iframe src="{escape(self.url)}" width="100%" height="640" '
            'style="border:1px solid #ddd"></iframe>'
        )

    def _build_controls(self) -> None:
        gui = self._server.gui
        gui.configure_theme(show_logo=False, show_share_button=False)
        gui.set_panel_label("GeoGen")
        gui.main_panel.dock_right()
        gui.main_panel.set_width(_PANEL_PX)
        self._list = gui.add_dropdown("Identity", self._options())
        self._list.on_update(self._answering(self._pick))
        self._search = gui.add_text("Search", "", hint="Part of an identity's name")
        self._search.on_update(self._answering(self._filter))
        step = gui.add_button_group("Step", ("Previous", "Next"))
        step.on_click(self._answering(lambda: self._step(step.value)))
        self._strip = gui.add_html("")
        self._through = gui.add_button_group("Look through", ("",), hint="Or click a picture")
        self._through.on_click(lambda event: self._look_through_named(event.client))
        gui.add_button("Overview").on_click(lambda event: self._look_at_all(event.client))
        self._opacity = gui.add_slider("Opacity", 0.0, 1.0, 0.05, 1.0, hint="Of the pictures")
        self._opacity.on_update(lambda _: self._blend(self._opacity.value))
        self._with_points = gui.add_checkbox("Hull points", True)
        self._with_points.on_update(lambda _: self._set_visible())
        self._with_axes = gui.add_checkbox("World axes", True)
        self._with_axes.on_update(lambda _: self._set_visible())
        self._facts = gui.add_html("")

    def _options(self) -> list[str]:
        return [short(name) for name in self._listed[:_MOST_LISTED]]

    def _answering(self, action: Callable[[], None]) -> Callable[[Any], None]:
        """A failure of what a control asks for is told in the browser, and the scene stays."""

        def answer(event: Any) -> None:
            try:
                action()
            except GeoGenError as error:
                if event.client is not None:
                    event.client.add_notification("Not shown", one_line(error), color="red")

        return answer

    def _pick(self) -> None:
        name = dict(zip(self._options(), self._listed, strict=False)).get(self._list.value)
        if name not in (None, self._shown.subject_id):
            self.show(name)

    def _filter(self) -> None:
        text = self._search.value.strip().casefold()
        found = [name for name in self._subjects if text in name.casefold()]
        if not found:
            raise UsageError("no identity has this in its name", found=text)
        self._listed = found
        self._list.options = self._options()
        if self._shown.subject_id not in found[:_MOST_LISTED]:
            self.show(found[0])

    def _step(self, direction: str) -> None:
        listed = self._listed
        here = listed.index(self._wanted) if self._wanted in listed else 0
        self.show(listed[(here + (1 if direction == "Next" else -1)) % len(listed)])

    def _draw(self) -> None:
        """Put the identity that is now shown into the scene and the panel."""
        shown, scene = self._shown, self._server.scene
        with self._server.atomic():
            scene.set_up_direction(tuple(shown.orbit.up))
            self._drawing = Drawing(scene, shown, self._opacity.value, self._look_through)
            self._set_visible()
            start = self._server.initial_camera
            start.position = tuple(shown.overview_position())
            start.look_at = tuple(shown.orbit.centre)
            start.up = tuple(shown.orbit.up)
            start.near, start.far = 0.01 * shown.distance, 100 * shown.distance
            start.fov = OVERVIEW_FOV_RAD
            self._facts.content = facts_table(shown, self._convention)
            self._strip.content = strip(shown.frustums)
            self._through.options = [caption(frustum) for frustum in shown.frustums]
            listed = short(shown.subject_id)
            if listed in self._list.options:
                self._list.value = listed
        self._server.flush()
        # The points take a second or so, and the pictures do not wait for them.
        self._adding = threading.Thread(target=self._add_points, args=(shown,), daemon=True)
        self._adding.start()

    def _add_points(self, shown: IdentityFrustums) -> None:
        found = hull_points(shown)
        with self._lock:
            if found is not None and shown is self._shown and not self._closed:
                self._drawing.add_points(found.xyz, found.rgb, visible=self._with_points.value)
                self._server.flush()

    def _set_visible(self) -> None:
        with self._lock:
            self._drawing.axes.visible = self._with_axes.value
            if self._drawing.points is not None:
                self._drawing.points.visible = self._with_points.value

    def _blend(self, opacity: float) -> None:
        with self._lock:
            if opacity == self._opacity.value:  # or a later value waits
                self._drawing.set_opacity(opacity)

    def _look_at_all(self, client: Any) -> None:
        with self._lock, client.atomic():
            self._drawing.choose(None)
            orbit = self._shown.orbit
            position = self._shown.overview_position()
            _move(client, position, orbit.centre, orbit.up, OVERVIEW_FOV_RAD)

    def _look_through_named(self, client: Any) -> None:
        names = [caption(frustum) for frustum in self._shown.frustums]
        if self._through.value in names:
            self._look_through(names.index(self._through.value), client)

    def _look_through(self, index: int, client: Any) -> None:
        """Move a browser's camera into one of the rig's: its picture then covers the scene."""
        with self._lock, client.atomic():
            self._drawing.choose(index)
            frustum = self._shown.frustums[index]
            fov_rad = frustum.fov_rad(client.camera.aspect)
            _move(client, frustum.position, frustum.target, frustum.up, fov_rad)


def _move(client: Any, position: Any, target: Any, up: Any, fov_rad: float) -> None:
    client.camera.position, client.camera.look_at = tuple(position), tuple(target)
    client.camera.up_direction, client.camera.fov = tuple(up), fov_rad


def view(
    place: Place = None,
    *,
    subjects: Sequence[str] | None = None,
    port: int | None = None,
    host: str = _LOOPBACK,
    cameras: CameraOptions | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Viewer:
    """Open a viewer for the browser: an identity's pictures at the poses of their cameras.

    In a notebook, leave the result as a cell's last expression to show it inline.

    Args:
        place: Folder with the eight zips, their base URL, or an exported folder on disk or on the
            Hub; None for the publisher's host.
        subjects: The identities to step through, the first one shown first; None for all.
        port: Port to listen on; 0 for any free one; None for 8080, or any if that is taken.
        host: Address to listen on. The default is reached from this machine only.
        cameras: How to read a release's cameras; None finds it out.
        storage_options: Credentials by protocol, as `open_release` takes them.

    Returns:
        The running viewer; `close` stops it.

    Raises:
        UsageError: The port is taken, or the address is not this machine's.
        GeoGenError: viser is not installed; or what `open_release` raises.

    Example:
        >>> with view("parts", subjects=["subj_00000"]) as viewer:
        ...     page = viewer.save_html("subj_00000.html")
    """
    if find_spec("viser") is None:
        raise GeoGenError("the viewer needs viser", remedy=install("view"))
    port = _free_port(host, port)
    identities, convention = open_place(place, cameras, storage_options)
    try:
        return Viewer(identities, convention, choose(identities, subjects), host, port)
    except BaseException:
        identities.close()
        raise


def open_place(
    place: Place,
    cameras: CameraOptions | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> tuple[Identities, Sequence[str]]:
    """Open a release or an exported folder, and say how the cameras were read and why."""
    folder = None if place is None else ExportedFolder(place, storage_options)
    if folder is not None and folder.is_export():
        return open_export(place, storage_options=storage_options), _as_exported(folder)
    release = open_release(
        place, on_bad_subject="skip", cameras=cameras, storage_options=storage_options
    )
    return release, release.camera_convention.describe()


def choose(identities: Identities, subjects: Sequence[str] | None) -> Sequence[str]:
    """The identities to step through: all, or these, if there are any of these names."""
    for name in subjects or ():
        if name not in identities:
            identities[name]  # raises the error that lists what there is
    return tuple(subjects or identities)


def _as_exported(folder: ExportedFolder) -> list[str]:
    """Say how the cameras of an export were read when it was written, as far as it tells."""
    sentences = ["camera convention: world_to_camera opencv, as exported"]
    try:
        said = json.loads(folder.read(PROVENANCE))["source"]["cameras"]
        sentences.append(f"In the release: {said['convention']}, {said['how']}.")
        if said["evidence"] is not None:
            sentences.append(f"{said['evidence']['reason']}.")
        sentences += [str(warning["text"]) for warning in said["warnings"]]
    except (PartsError, KeyError, TypeError, ValueError, RecursionError):
        sentences.append(f"{PROVENANCE} does not say how the release's cameras were read.")
    return sentences


def _free_port(host: str, port: int | None) -> int:
    """Make sure that a port can be had: viser itself would quietly take another one."""
    try:
        asked = DEFAULT_PORT if port is None else port
        family = socket.getaddrinfo(host, asked, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                # As asyncio does: a port whose last connections linger can be had again.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, asked))
            return int(probe.getsockname()[1])
    except OSError as error:
        if port is None:
            return _free_port(host, 0)
        raise UsageError(
            f"cannot listen on port {port} of {host}",
            found=error.strerror or error,
            remedy="choose another --port, or stop the program that has it",
        ) from error
    except OverflowError as error:
        raise UsageError("no such port", expected="0 to 65535", found=port) from error


def _url(host: str, port: int) -> str:
    """What to type into a browser on this machine: also for 0.0.0.0, and with [] round ::1."""
    name = {"0.0.0.0": _LOOPBACK, "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _drop_idle_connections(loop: asyncio.AbstractEventLoop) -> None:
    """End connections that a browser opened in advance and never used.

    websockets waits 10 s for each before a server stops. The name of its handler is that of 16.1;
    under another name the connections would merely end later, in viser's own thread.
    """
    with contextlib.suppress(RuntimeError):  # the loop has been closed
        for task in asyncio.all_tasks(loop):
            if getattr(task.get_coro(), "__name__", "") == "conn_handler":
                loop.call_soon_threadsafe(task.cancel)
