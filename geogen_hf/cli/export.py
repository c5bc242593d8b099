"""`geogen export`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from geogen_hf.cli import console


def export(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="Folder with the eight zips, or a base URL.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    config: Annotated[
        list[str] | None,
        typer.Option(
            help="sequences, views, cameras or metadata; the first is the default config. "
            "Repeatable.  [default: sequences, cameras, metadata]"
        ),
    ] = None,
    part: console.PartNumbers = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of threads.  [default: one more than there are cores]"),
    ] = None,
    image_format: Annotated[
        Literal["png", "webp", "jpeg"],
        typer.Option(help="png: as published; webp: lossless; jpeg: lossy."),
    ] = "png",
    image_size: console.ImageSize = None,
    quality: Annotated[int, typer.Option(help="Quality of jpeg, 1 to 95.")] = 92,
    split_seed: console.SplitSeed = 0,
    on_bad_subject: console.OnBadSubject = "raise",
    camera_convention: console.ConventionName = "auto",
    camera_schema: console.SchemaFile = None,
    default_intrinsics: console.UpstreamLens = False,
    overwrite: console.Overwrite = False,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="tcp://…", help="Run on the Dask cluster of this scheduler."),
    ] = None,
) -> None:
    """Write a folder that is a dataset repository for the Hub.

    It holds Parquet files, a dataset card, a list of the splits and checksums.
    An interrupted run continues when the same command is run again.

    Example: geogen export parts geogen --config sequences --image-size 256
    """
    from geogen_hf.export.folder import export_release
    from geogen_hf.export.options import DEFAULT_CONFIGS, ExportOptions
    from geogen_hf.export.tasks import dask_executor

    options = ExportOptions(
        configs=tuple(config or DEFAULT_CONFIGS),
        image_format=image_format,
        image_size=image_size,
        quality=quality,
    )
    cameras = console.camera_options(camera_convention, camera_schema, default_intrinsics)
    cluster = dask_executor(scheduler) if scheduler else nullcontext()
    with cluster as executor, console.progress_bar("exporting") as progress:
        done = export_release(
            source,
            folder,
            options,
            parts=part,
            cameras=cameras,
            on_bad_subject=on_bad_subject,
            split_seed=split_seed,
            overwrite=overwrite,
            workers=workers,
            executor=executor,
            progress=progress,
        )
    for name, rows in done.rows.items():
        listing = ", ".join(f"{split}: {count:,}" for split, count in rows.items())
        console.say(f"{name:12}{listing}")
    console.say(f"{folder}  {done.size:,} bytes, {done.written:,} shards written now")
    console.say(f"Next: geogen verify {folder}")
