"""Download the parts into the cache of `datasets`, resumed and checked.

`DownloadManager.download` starts a transfer that broke again from zero. So the parts are put into
its cache first, under the names that it gives to a URL and its ETag; then it is asked for them, and
finds them, as it does the next time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import fsspec
from datasets.utils import tqdm

from geogen_hf import compat
from geogen_hf.durable import write_durably
from geogen_hf.errors import redact
from geogen_hf.source.download import Job, download
from geogen_hf.source.files import TransferOptions, open_remote
from geogen_hf.source.parts import Location, Part, RemoteInfo, options_for
from geogen_hf.threads import Control

_THREADS = 4


def download_parts(
    dl_manager: Any, locations: Mapping[Part, Location], options: TransferOptions | None = None
) -> dict[Part, Location]:
    """Have the download manager of a builder provide the parts, resuming what broke before.

    What goes over HTTP is fetched here into the manager's cache. All else is left to the manager:
    what is streamed, local paths, files on the Hugging Face Hub (its client resumes by itself),
    other kinds of URLs, and hosts for which `download_config.storage_options` holds more than
    headers.

    Returns the local file of each part; when streaming its URL, with the given options. Where some
    cannot be fetched, what has arrived is kept for the next time.
    """
    config = dl_manager.download_config
    if dl_manager.is_streaming:
        given = options_of(config)
        return {part: replace(at, storage_options=given) for part, at in locations.items()}
    ours = {part: at for part, at in locations.items() if _is_ours(at.address, config)}
    paths = _ask(dl_manager, {part: at for part, at in locations.items() if part not in ours})
    if ours:
        # datasets loads fsspec's HTTP client to ask whether a URL may be local: 0.1 s, meanwhile.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(fsspec.get_filesystem_class, "http")
            paths |= _fill_cache(ours, config, options or TransferOptions(digest=False))
        # A forced download is done by now; and for what is found, no processes need to start.
        dl_manager.download_config = config.copy()
        dl_manager.download_config.force_download = False
        dl_manager.download_config.num_proc = None
        # A URL with a password or a signature is kept from the manager, which would note it in
        # the data set's dataset_info.json.
        clean = {part: at for part, at in ours.items() if redact(at.address) == at.address}
        try:
            paths |= _ask(dl_manager, clean)
        finally:
            dl_manager.download_config = config
    return {part: Location(paths[part]) for part in locations}


def options_of(config: Any) -> dict[str, Any]:
    """Take from a `DownloadConfig` what the user gave as `token` and `storage_options`."""
    options = dict(config.storage_options or {})
    if config.token is not None:  # not each version of datasets puts it among the options
        options["hf"] = {**options.get("hf", {}), "token": config.token}
    return options


def _ask(dl_manager: Any, locations: Mapping[Part, Location]) -> dict[Part, str]:
    if not locations:
        return {}
    paths = dl_manager.download({part.name: at.address for part, at in locations.items()})
    return {part: str(paths[part.name]) for part in locations}


def _is_ours(url: str, config: Any) -> bool:
    """Tell what is fetched here from what `datasets` handles in a way of its own."""
    if datasets.config.HF_HUB_OFFLINE or compat.cached_file_name(url, None) is None:
        return False
    on_hub = url.startswith(datasets.config.HF_ENDPOINT) and "/resolve/" in url
    if not url.startswith(("http://", "https://")) or on_hub or "drive.google.com" in url:
        return False
    return options_for(url, config.storage_options or {}).keys() <= {"headers"}


def _fill_cache(
    locations: Mapping[Part, Location], config: Any, options: TransferOptions
) -> dict[Part, str]:
    folder = Path(config.cache_dir or datasets.config.DOWNLOADED_DATASETS_PATH)
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[Part, str] = {}
    jobs: dict[Part, Job] = {}
    control = Control()
    for part, location in locations.items():
        any_version = folder / str(compat.cached_file_name(location.address, None))
        if not config.use_etag and not config.force_download and any_version.exists():
            paths[part] = str(any_version)  # as datasets does: nobody is asked
            continue
        at = replace(location, storage_options=config.storage_options or {})
        file = open_remote(at, options, control)
        jobs[part] = _CacheJob(file, folder, config.use_etag, config.force_download)
    description = config.download_desc or "Downloading parts"
    with tqdm(unit="B", unit_scale=True, desc=description, disable=config.disable_tqdm) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        found = download(jobs, folder, control, threads=_THREADS, progress=progress)
    return paths | {part: str(path) for part, path in found.items()}


@dataclass
class _CacheJob(Job):
    """A part to put into the cache, under a name made of its first version's ETag."""

    folder: Path
    use_etag: bool
    forced: bool
    info: RemoteInfo | None = None

    def admit(self, info: RemoteInfo) -> None:
        self.info = self.info or info
        if not self.info.same_version(info):
            raise self.file.failure(
                "changed upstream while it was fetched",
                expected=self.info,
                found=info,
                remedy="run again to fetch the new version",
            )

    def target(self, info: RemoteInfo) -> Path:
        etag = info.etag if self.use_etag else None
        return self.folder / str(compat.cached_file_name(self.file.location.address, etag))

    def lock_path(self, target: Path) -> Path:
        return target.with_name(f"{target.name}.lock")  # the one that datasets takes

    def is_complete(self, info: RemoteInfo) -> bool:
        return not self.forced and self.target(info).exists()

    def accept(self, info: RemoteInfo, sha256: str) -> None:
        # The note that datasets keeps beside each file of its cache.
        target = self.target(info)
        etag = info.etag if self.use_etag else None
        note = json.dumps({"url": str(self.file.location), "etag": etag}).encode()
        write_durably(target.with_name(f"{target.name}.json"), note)
