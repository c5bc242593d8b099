"""`geogen export`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from geogen_hf.cli import console
from geogen_hf.report import Policy


@console.command
def export(
    source: console.In,
    folder: console.Out,
    config: list[str] | None = None,
    part: list[int] | None = None,
    workers: Annotated[int | None, Option(min=1)] = None,
    image_format: Literal["png", "webp", "jpeg"] = "png",
    image_size: int | None = None,
    quality: int = 92,
    split_seed: int = 0,
    on_bad_subject: Policy = "raise",
    camera_convention: str = "auto",
    camera_schema: Path | None = None,
    default_intrinsics: bool = False,
    overwrite: bool = False,
    scheduler: Annotated[str | None, Option(metavar="tcp://…")] = None,
) -> None:
    """Write a folder that is a dataset repository for the Hub.

    It holds Parquet files, a dataset card, a list of the splits and checksums.
    An interrupted run continues when the same command is run again.

    Example: geogen export parts geogen --config sequences --image-size 256

    Options:
        source: Folder with the eight zips, or a base URL.
        folder: Folder to write.
        config: sequences, views, cameras or metadata; the first is the default config.
            Repeatable.  [default: sequences, cameras, metadata]
        workers: Number of threads.  [default: one more than cores, fewer if subjects are large]
        image_format: png: as published; webp: lossless; jpeg: lossy.
        quality: Quality of jpeg, 1 to 95.
        scheduler: Run on the Dask cluster of this scheduler.
    """
    from geogen_hf.export.folder import export_release
    from geogen_hf.export.options import DEFAULT_CONFIGS, ExportOptions
    from geogen_hf.export.tasks import dask_executor

    configs = tuple(config or DEFAULT_CONFIGS)
    options = ExportOptions(configs, image_format, image_size, quality)
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
        console.say(f"{name:12}{console.counts(rows)}")
    console.say(f"{folder}  {done.size:,} bytes, {done.written:,} shards written now")
    console.say(f"Next: geogen verify {folder}")
