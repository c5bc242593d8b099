"""`geogen view` and `geogen preview`: look at identities in the browser, or in two pictures."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

from typer import Option

from geogen_hf.cli import console
from geogen_hf.errors import UsageError

_PREVIEWED = 6


@console.command
def view(
    source: console.Source = None,
    subject: list[str] | None = None,
    html: Annotated[Path | None, Option(metavar="X.html")] = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    camera_convention: str = "auto",
    camera_schema: Path | None = None,
    default_intrinsics: bool = False,
) -> None:
    """Show identities in the browser: their images and cameras in 3-D.

    SRC may also be an exported folder. Ctrl-C ends the viewer. Needs the extra view.

    Example: geogen view parts --subject 17 --html 17.html

    Options:
        html: Write one identity to an HTML file that needs no server, then exit.
        port: Port to listen on; 0 for any free port.  [default: 8080, or a free one]
        host: Address to listen on; with 0.0.0.0, other machines can connect.
    """
    from geogen_hf.viewer.server import view as open_viewer

    if html is not None and subject is not None and len(subject) > 1:
        raise UsageError(
            "--html writes one identity",
            found=f"{len(subject)} of them",
            remedy="give --subject once, and run the command once for each",
        )
    cameras = console.camera_options(camera_convention, camera_schema, default_intrinsics)
    port = 0 if html is not None else port
    with open_viewer(source, subjects=subject, port=port, host=host, cameras=cameras) as viewer:
        if html is not None:
            size = viewer.save_html(html).stat().st_size
            console.say(f"{html}  {viewer.subject_id}, {size / 1e6:.1f} MB")
            return
        try:
            console.say(f"{viewer.url}  open this in a browser; Ctrl-C ends it")
            sys.stdout.flush()
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            console.say("stopped")


@console.command
def preview(
    source: console.Source = None,
    subject: list[str] | None = None,
    picture: Annotated[Path, Option("--out", metavar="X.png")] = Path("geogen.png"),
    cell: Annotated[int, Option(min=16, max=1024)] = 128,
    camera_convention: str = "auto",
    camera_schema: Path | None = None,
    default_intrinsics: bool = False,
) -> None:
    """Draw a contact sheet of identities, and their cameras.

    The contact sheet has an identity a row, by azimuth. The cameras of the first identity go into
    X-rig.png. SRC may also be an exported folder.

    Example: geogen preview parts --out heads.png

    Options:
        picture: File of the contact sheet.
        cell: Width and height of an image in it, pixels.
    """
    from geogen_hf.release.pictures import camera_rig, contact_sheet, decode_views
    from geogen_hf.viewer.server import choose, open_place

    cameras = console.camera_options(camera_convention, camera_schema, default_intrinsics)
    console.check_picture_path(picture)
    rig = picture.with_name(f"{picture.stem}-rig{picture.suffix}")
    with open_place(source, cameras)[0] as identities:
        names = choose(identities, subject)[: None if subject else _PREVIEWED]
        found = [identities[name] for name in names]
    shown = list(map(decode_views, found))
    console.save_picture(contact_sheet(shown, cell), picture)
    console.save_picture(camera_rig(shown[0]), rig)
    console.say(f"{picture}  {len(shown)} identities by azimuth")
    console.say(f"{rig}  the cameras of {shown[0].subject_id}")
