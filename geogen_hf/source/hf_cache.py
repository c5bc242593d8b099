"""Downloads for `datasets`, resumed and checked, in the place where it looks for its own.

`DownloadManager.download` starts a transfer that broke again from zero. So the parts are put into
its cache first, under the names that it gives to a URL and its ETag; then it is asked for them, and
finds them, as it does the next time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import fsspec
from datasets.utils import tqdm
from datasets.utils.file_utils import hash_url_to_filename

from geogen_hf.durable import require_space, write_durably
from geogen_hf.errors import FetchError, explain
from geogen_hf.source.http import RemoteInfo
from geogen_hf.source.location import Credentials, Location
from geogen_hf.source.lockfile import describe
from geogen_hf.source.partial import resumable_bytes
from geogen_hf.source.parts import Part
from geogen_hf.source.retry import TransferOptions, persist
from geogen_hf.source.streams import Source, open_source
from geogen_hf.source.transfer import Transfer
from geogen_hf.threads import Control, run_all

_JOBS = 4


def download_parts(
    dl_manager: Any, locations: Mapping[Part, Location], options: TransferOptions | None = None
) -> dict[Part, Location]:
    """Have a download manager of `datasets` provide the parts, resuming what broke before.

    What goes over HTTP is fetched here into the manager's cache. All else is the manager's own
    affair: what is streamed, local paths, files on the Hugging Face Hub (its client resumes by
    itself), other kinds of URLs, and hosts for which `download_config.storage_options` holds more
    than headers.

    Args:
        dl_manager: The argument of a builder's `_split_generators`.
        locations: Where each part is.
        options: Timeouts, retries and syncs; None for the defaults.

    Returns:
        The local file of each part; its URL when streaming, with what the user gave to show to its
        host.

    Raises:
        FetchError: Some parts cannot be had; what has arrived is kept for the next time.
    """
    config = dl_manager.download_config
    if dl_manager.is_streaming:
        credentials = credentials_of(dl_manager)
        return {
            part: replace(location, credentials=credentials) if location.remote else location
            for part, location in locations.items()
        }
    urls = {part: location.address for part, location in locations.items()}
    own = {part: url for part, url in urls.items() if _is_ours(url, config)}
    if datasets.config.HF_HUB_OFFLINE:
        own = {}
    others = {part: url for part, url in urls.items() if part not in own}
    paths = _ask(dl_manager, others)
    if own:
        # datasets loads fsspec's HTTP client to ask whether a URL may be local: 0.1 s, meanwhile.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(fsspec.get_filesystem_class, "http")
            _fill_cache(own, config, options or TransferOptions(digest=False))
        with _found_not_forced(dl_manager):
            paths |= _ask(dl_manager, own)
    return {part: Location(paths[part]) for part in urls}


def credentials_of(dl_manager: Any) -> Credentials:
    """Take from a download manager what the user gave as `token` and `storage_options`."""
    config = dl_manager.download_config
    options = dict(config.storage_options or {})
    if config.token is not None:  # not each version of datasets puts it among the options
        options["hf"] = {**options.get("hf", {}), "token": config.token}
    return Credentials(options)


def _ask(dl_manager: Any, urls: Mapping[Part, str]) -> dict[Part, str]:
    if not urls:
        return {}
    paths = dl_manager.download({part.name: url for part, url in urls.items()})
    return {part: str(paths[part.name]) for part in urls}


def _is_ours(url: str, config: Any) -> bool:
    """Tell what is fetched here from what `datasets` handles in a way of its own."""
    hub = datasets.config.HF_ENDPOINT
    if not url.startswith(("http://", "https://")) or (url.startswith(hub) and "/resolve/" in url):
        return False
    options = Credentials(config.storage_options).for_url(url)
    return "drive.google.com" not in url and options.keys() <= {"headers"}


@contextmanager
def _found_not_forced(dl_manager: Any) -> Iterator[None]:
    """Keep a forced download, done by now, from being done again, and processes from starting."""
    config = dl_manager.download_config
    found = config.copy()
    found.force_download = False
    found.num_proc = None
    dl_manager.download_config = found
    try:
        yield
    finally:
        dl_manager.download_config = config


@dataclass(frozen=True)
class _Job:
    """One part to put into the cache.

    Attributes:
        label: The part's name.
        source: Where it is.
        info: The version there.
        etag: What its name in the cache is made of, beside the URL; None where `use_etag` is off.
        target: Its path there.
    """

    label: str
    source: Source
    info: RemoteInfo
    etag: str | None
    target: Path


def _fill_cache(urls: Mapping[Part, str], config: Any, options: TransferOptions) -> None:
    folder = Path(config.cache_dir or datasets.config.DOWNLOADED_DATASETS_PATH)
    folder.mkdir(parents=True, exist_ok=True)
    control = Control()
    probes = {
        part.name: partial(_plan, part.name, url, folder, config, control, options)
        for part, url in urls.items()
    }
    planned, failures = run_all(probes, jobs=_JOBS, control=control)
    jobs = [job for job in planned.values() if job is not None]
    require_space(folder, sum(_missing_bytes(job) for job in jobs))
    with tqdm(
        total=sum(job.info.size or 0 for job in jobs),
        unit="B",
        unit_scale=True,
        desc=config.download_desc or "Downloading parts",
        disable=config.disable_tqdm,
    ) as bar:
        tasks = {job.label: partial(_provide, job, config, control, options) for job in jobs}
        _, later = run_all(
            tasks,
            jobs=_JOBS,
            control=control,
            tick=lambda: bar.update(sum(control.done().values()) - bar.n),
        )
    failures |= later
    if failures:
        first = next(iter(failures.values()))
        raise FetchError("\n".join(str(failures[name]) for name in sorted(failures))) from first


def _plan(
    label: str, url: str, folder: Path, config: Any, control: Control, options: TransferOptions
) -> _Job | None:
    """Find out what there is to fetch; None for nothing."""
    any_version = folder / hash_url_to_filename(url)
    if not config.use_etag and not config.force_download and any_version.exists():
        return None  # as datasets does: nobody is asked
    source = open_source(
        url,
        label,
        connect_s=options.connect_s,
        read_s=options.read_s,
        headers=Credentials(config.storage_options).for_url(url).get("headers"),
    )
    info = persist(source.probe, label=label, url=url, control=control, options=options)
    etag = info.etag if config.use_etag else None
    target = folder / hash_url_to_filename(url, etag)
    if target.exists() and not config.force_download:
        return None
    return _Job(label, source, info, etag, target)


def _missing_bytes(job: _Job) -> int:
    return (job.info.size or 0) - resumable_bytes(job.target, job.source.url, job.info)


def _provide(job: _Job, config: Any, control: Control, options: TransferOptions) -> None:
    """Put one part into the cache, unless another process does meanwhile."""
    target = job.target
    # The lock that datasets itself takes for this file.
    with control.exclusion(target.with_name(f"{target.name}.lock"), job.label):
        if target.exists() and not config.force_download:
            control.set_done(job.label, target.stat().st_size)
            return
        admit = partial(_admit, job)
        Transfer(job.source, target, job.label, control, options, admit=admit).run()
        note = json.dumps({"url": job.source.url, "etag": job.etag}).encode()
        write_durably(target.with_name(f"{target.name}.json"), note)


def _admit(job: _Job, info: RemoteInfo) -> None:
    """Refuse another version than the one that the file's name is made of."""
    if not job.info.same_version(info):
        raise FetchError(
            explain(
                f"{job.label}: changed upstream while it was fetched",
                where=job.source.url,
                expected=describe(job.info),
                found=describe(info),
                remedy="run again to fetch the new version",
            )
        )
