"""What `benchmarks.export` measures, each in a process of its own.

Little is imported up here: processes that a job starts import this module again.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

CORES = os.cpu_count() or 1


def _export(parts: str, out: str) -> Callable[[], object]:
    from geogen_hf.export.folder import export_release

    def run() -> object:
        return export_release(parts, out)

    return run


def _idiomatic(parts: str, out: str) -> Callable[[], object]:
    import datasets
    from datasets.table import embed_table_storage

    from benchmarks.idiomatic import Idiomatic

    datasets.disable_progress_bars()

    def run() -> object:
        # From the disk, so that no download counts.
        builder = Idiomatic(cache_dir=str(Path(out) / "cache"), base_url=parts)
        builder.download_and_prepare(num_proc=CORES)
        loaded = builder.as_dataset()
        for split, dataset in loaded.items():
            # As push_to_hub embeds files: the rows hold paths into the cache so far.
            arrow = dataset.with_format("arrow")
            embedded = arrow.map(embed_table_storage, batched=True, batch_size=100, num_proc=CORES)
            embedded.with_format(None).to_parquet(str(Path(out) / f"{split}.parquet"))
        return None

    return run


def _webdataset(parts: str, out: str) -> Callable[[], object]:
    import webdataset  # noqa: F401

    def run() -> object:
        Path(out).mkdir()
        with ProcessPoolExecutor(CORES) as pool:
            jobs = [pool.submit(_write_tars, parts, out, number) for number in range(CORES)]
            return [job.result() for job in jobs]

    return run


def _write_tars(parts: str, out: str, number: int) -> None:
    """Write every so-many-th identity: images as they are, cameras as JSON."""
    import zipfile

    import webdataset

    names = [f"images_batch_{n}.zip" for n in range(1, 8)]
    zips = [zipfile.ZipFile(Path(parts) / name) for name in names]
    images: dict[str, list[tuple[zipfile.ZipFile, str]]] = {}
    for zipped in zips:
        for member in zipped.namelist():
            images.setdefault(member.split("/")[0], []).append((zipped, member))
    metadata = zipfile.ZipFile(Path(parts) / "metadata_files.zip")
    pattern = str(Path(out) / f"train-{number}-%05d.tar")
    with webdataset.ShardWriter(pattern, maxcount=50, verbose=0) as writer:
        for member in metadata.namelist()[number::CORES]:
            text = metadata.read(member)
            subject_id = json.loads(text)["name"]
            sample: dict[str, Any] = {"__key__": subject_id, "json": text}
            for zipped, name in images[subject_id]:
                sample[f"{Path(name).stem}.png"] = zipped.read(name)
            writer.write(sample)


def _verify(folder: str, _: str) -> Callable[[], object]:
    from geogen_hf.export.verify import verify_export
    from geogen_hf.threads import worker_processes

    def run() -> object:
        with worker_processes(CORES) as executor:
            found = verify_export(folder, executor=executor)
        assert not any("SHA" in failure for failure in found.failures)
        return None

    return run


def _decode(folder: str, _: str) -> Callable[[], object]:
    import PIL.PngImagePlugin  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    files = sorted(map(str, Path(folder).glob("data/sequences/*.parquet")))

    def run() -> object:
        with ProcessPoolExecutor(CORES) as pool:
            return sum(pool.map(_decode_file, files))

    return run


def _decode_file(path: str) -> int:
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    images = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=8, columns=["images"]):
        for row in batch["images"].to_pylist():
            for image in row:
                Image.open(io.BytesIO(image["bytes"])).load()
                images += 1
    return images


def _first(urls: str, _: str) -> Callable[[], object]:
    os.environ["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"
    import aiohttp  # noqa: F401
    import datasets
    import PIL.PngImagePlugin  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    data_files = {"train": json.loads(urls)}

    def run() -> object:
        loaded = datasets.load_dataset("parquet", data_files=data_files, streaming=True)
        return next(iter(loaded["train"]))

    return run


JOBS = {
    "export": _export,
    "idiomatic": _idiomatic,
    "webdataset": _webdataset,
    "verify": _verify,
    "decode": _decode,
    "first": _first,
}


def job(route: str, source: str, target: str) -> None:
    """Run one job and print how long it took."""
    work = JOBS[route](source, target)
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds}), flush=True)
    os._exit(0)  # what is open in the background is not waited for


if __name__ == "__main__":
    job(*sys.argv[1:])
