"""`geogen export`."""

from __future__ import annotations

from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geogen_hf.cli.console import (
    BadSubject,
    ConventionName,
    OnBadSubject,
    PartNumbers,
    SchemaFile,
    SplitSeed,
    UpstreamLens,
    camera_options,
    progress_bar,
    say,
)


class ImageFormat(str, Enum):
    """How images are written."""

    png = "png"
    webp = "webp"
    jpeg = "jpeg"


def export(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="Folder with the eight zips, or a base URL.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    config: Annotated[
        list[str] | None,
        typer.Option(
            help="sequences, views or cameras; the first is the default config. Repeatable."
            "  [default: sequences, cameras]"
        ),
    ] = None,
    part: PartNumbers = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads.  [default: one more than cores]")
    ] = None,
    image_format: Annotated[
        ImageFormat, typer.Option(help="png as published, webp without loss, jpeg with.")
    ] = ImageFormat.png,
    image_size: Annotated[
        int | None, typer.Option(help="Resize to this longer side, pixels; cameras follow.")
    ] = None,
    quality: Annotated[int, typer.Option(help="Of jpeg, 1 to 95.")] = 92,
    split_seed: SplitSeed = 0,
    on_bad_subject: OnBadSubject = BadSubject.stop,
    camera_convention: ConventionName = "auto",
    camera_schema: SchemaFile = None,
    default_intrinsics: UpstreamLens = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew where OUT holds an export.")
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="tcp://…", help="Run on the Dask cluster of this scheduler."),
    ] = None,
) -> None:
    """Write a folder that is a dataset repository: Parquet, card, split manifest, checksums.

    Interrupted in any way, the same command goes on where it stopped.

    Example: geogen export parts geogen --config sequences --image-size 256
    """
    from geogen_hf.export.folder import export_release
    from geogen_hf.export.options import DEFAULT_CONFIGS, ExportOptions
    from geogen_hf.export.tasks import dask_executor

    options = ExportOptions(
        configs=tuple(config or DEFAULT_CONFIGS),
        image_format=image_format.value,
        image_size=image_size,
        quality=quality,
    )
    cameras = camera_options(camera_convention, camera_schema, default_intrinsics)
    cluster = dask_executor(scheduler) if scheduler else nullcontext()
    with cluster as executor, progress_bar("exporting") as progress:
        done = export_release(
            source,
            folder,
            options,
            parts=part,
            cameras=cameras,
            on_bad_subject=on_bad_subject.value,
            split_seed=split_seed,
            overwrite=overwrite,
            workers=workers,
            executor=executor,
            progress=progress,
        )
    for name, rows in done.rows.items():
        listing = ", ".join(f"{split}: {count:,}" for split, count in rows.items())
        say(f"{name:12}{listing}")
    say(f"{folder}  {done.size:,} bytes, {done.written:,} shards written now")
    say(f"Next: geogen verify {folder}")
