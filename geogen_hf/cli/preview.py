"""`geogen preview`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geogen_hf.cli.console import (
    ConventionName,
    SchemaFile,
    Source,
    UpstreamLens,
    camera_options,
    checked_picture_path,
    save_picture,
    say,
)

if TYPE_CHECKING:
    from geogen_hf.release.convention import CameraOptions
    from geogen_hf.release.preview import Views

_SHOWN = 6


def preview(
    source: Source = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(help="Show this identity. Repeatable.  [default: the first six]"),
    ] = None,
    picture: Annotated[
        Path, typer.Option("--out", metavar="X.png", help="Where to put the contact sheet.")
    ] = Path("geogen.png"),
    cell: Annotated[
        int, typer.Option(min=16, max=1024, help="Side of an image in it, pixels.")
    ] = 128,
    camera_convention: ConventionName = "auto",
    camera_schema: SchemaFile = None,
    default_intrinsics: UpstreamLens = False,
) -> None:
    """Draw identities (rows) by azimuth (columns), and the first one's cameras in 3-D.

    SRC may be an exported folder, too. The cameras are drawn beside the contact sheet: X-rig.png.

    Example: geogen preview parts --out heads.png
    """
    from geogen_hf.release.preview import camera_rig, contact_sheet

    cameras = camera_options(camera_convention, camera_schema, default_intrinsics)
    checked_picture_path(picture)
    rig = picture.with_name(f"{picture.stem}-rig{picture.suffix}")
    shown = _views(source, subject, cameras)
    save_picture(contact_sheet(shown, cell), picture)
    save_picture(camera_rig(shown[0]), rig)
    say(f"{picture}  {len(shown)} identities by azimuth")
    say(f"{rig}  the cameras of {shown[0].subject_id}")


def _views(source: str | None, subjects: list[str] | None, cameras: CameraOptions) -> list[Views]:
    from geogen_hf.export.exported import is_export
    from geogen_hf.export.lookup import open_export
    from geogen_hf.release.identities import open_release
    from geogen_hf.release.preview import decode_views

    with (
        open_export(source)
        if source is not None and is_export(source)
        else open_release(source, on_bad_subject="skip", cameras=cameras)
    ) as identities:
        wanted = [identities[name] for name in subjects or identities.subject_ids[:_SHOWN]]
        return [
            decode_views(one.subject_id, one.images, one.extrinsics, one.intrinsics)
            for one in wanted
        ]
