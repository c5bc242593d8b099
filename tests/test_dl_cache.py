from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import datasets
import datasets.config
import pytest
from datasets import DownloadConfig, DownloadManager, StreamingDownloadManager
from origin_server import Faults, OriginServer, quick_retry, replace, write_zip

from geogen_hf.errors import FetchError
from geogen_hf.source.files import TransferOptions
from geogen_hf.source.hf_cache import download_parts
from geogen_hf.source.parts import Location, Part, locate_parts, select_parts

pytestmark = pytest.mark.datasets

PARTS = select_parts([1, 2])
FIRST = PARTS[0]
SIZE = 300_000
CUT = 200_000
QUICK = TransferOptions(retry=quick_retry(3), read_s=2, sync_s=0.0)


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[OriginServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    for part in PARTS:
        write_zip(folder / part.name, SIZE, part.number)
    with OriginServer(folder) as server:
        yield server


def manager(tmp_path: Path, **options: object) -> DownloadManager:
    config = DownloadConfig(cache_dir=tmp_path / "cache", **options)
    return DownloadManager(download_config=config)


def urls(origin: OriginServer) -> dict[Part, str]:
    return {part: found.address for part, found in locate_parts(origin.url, PARTS).items()}


def download(dl_manager: object, addresses: dict[Part, str]) -> dict[Part, str]:
    locations = {part: Location(address) for part, address in addresses.items()}
    found = download_parts(dl_manager, locations, QUICK)
    return {part: location.address for part, location in found.items()}


def right(paths: dict[Part, str], origin: OriginServer) -> bool:
    """Whether every byte is as served."""
    served = {part: (origin.folder / part.name).read_bytes() for part in PARTS}
    return {part: Path(path).read_bytes() for part, path in paths.items()} == served


@pytest.mark.parametrize("use_etag", [True, False])
def test_a_second_load_transfers_nothing(
    tmp_path: Path, origin: OriginServer, use_etag: bool
) -> None:
    first = download(manager(tmp_path, use_etag=use_etag), urls(origin))
    assert right(first, origin)
    assert origin.bytes_sent == sum(Path(path).stat().st_size for path in first.values())
    origin.reset_counts()
    assert download(manager(tmp_path, use_etag=use_etag), urls(origin)) == first
    # The manager's own way, without this package, finds the same files.
    dl_manager = manager(tmp_path, use_etag=use_etag)
    assert dl_manager.download(list(urls(origin).values())) == list(first.values())
    assert origin.bytes_sent == origin.count("GET") == 0


def test_what_the_manager_fetched_is_found(tmp_path: Path, origin: OriginServer) -> None:
    theirs = manager(tmp_path).download({part.name: url for part, url in urls(origin).items()})
    origin.reset_counts()
    ours = download(manager(tmp_path), urls(origin))
    assert ours == {part: theirs[part.name] for part in PARTS}
    assert origin.bytes_sent == 0


def test_notes_in_the_cache_are_those_of_datasets(tmp_path: Path, origin: OriginServer) -> None:
    ours = download(manager(tmp_path), urls(origin))
    notes = {part: Path(f"{path}.json").read_text() for part, path in ours.items()}
    for path in ours.values():
        Path(path).unlink()
        Path(f"{path}.json").unlink()
    theirs = manager(tmp_path).download(list(urls(origin).values()))
    assert theirs == list(ours.values())
    assert {part: Path(f"{path}.json").read_text() for part, path in ours.items()} == notes


def test_sizes_and_origins_are_recorded(tmp_path: Path, origin: OriginServer) -> None:
    dl_manager = manager(tmp_path)
    download(dl_manager, urls(origin))
    assert dl_manager.downloaded_size == origin.bytes_sent
    assert dl_manager.downloaded_paths.keys() == set(urls(origin).values())


def test_forced_downloads_transfer_once(tmp_path: Path, origin: OriginServer) -> None:
    first = download(manager(tmp_path), urls(origin))
    total = origin.bytes_sent
    for path in first.values():
        Path(path).write_bytes(b"spoilt")
    origin.reset_counts()
    dl_manager = manager(tmp_path, force_download=True)
    assert right(download(dl_manager, urls(origin)), origin)
    assert origin.bytes_sent == total
    assert dl_manager.download_config.force_download


def test_broken_transfers_are_resumed(tmp_path: Path, origin: OriginServer) -> None:
    origin.faults[FIRST.name] = Faults(cut_at=[CUT])
    assert right(download(manager(tmp_path), urls(origin)), origin)
    size = (origin.folder / FIRST.name).stat().st_size
    assert origin.sent[FIRST.name] < 1.02 * size


def test_the_next_load_goes_on(tmp_path: Path, origin: OriginServer) -> None:
    faults = origin.faults[FIRST.name] = Faults(cut_at=[CUT])

    def fail(offset: int) -> None:
        faults.status_times = 1000

    faults.on_piece = fail
    with pytest.raises(FetchError, match=r"images_batch_1\.zip: given up"):
        download(manager(tmp_path), urls(origin))
    origin.faults.clear()
    origin.reset_counts()
    assert right(download(manager(tmp_path), urls(origin)), origin)
    assert origin.bytes_sent == (origin.folder / FIRST.name).stat().st_size - CUT


def test_a_change_upstream_is_another_file(tmp_path: Path, origin: OriginServer) -> None:
    old = download(manager(tmp_path), urls(origin))
    before = Path(old[FIRST]).read_bytes()
    new = write_zip(tmp_path / "new.zip", SIZE, seed=50)
    replace(origin.folder / FIRST.name, new)
    paths = download(manager(tmp_path), urls(origin))
    assert right(paths, origin)
    assert Path(old[FIRST]).read_bytes() == before


def test_a_change_on_the_way_is_not_named_after_the_old(
    tmp_path: Path, origin: OriginServer
) -> None:
    new = write_zip(tmp_path / "new.zip", SIZE, seed=50)
    origin.faults[FIRST.name] = Faults(cut_at=[CUT], replace_at=CUT, replacement=new)
    with pytest.raises(FetchError, match="changed upstream while it was fetched"):
        download(manager(tmp_path), urls(origin))
    assert right(download(manager(tmp_path), urls(origin)), origin)


def test_forcing_concerns_the_manager_too(tmp_path: Path, origin: OriginServer) -> None:
    options = {"http": {"client_kwargs": {}}}  # more than headers, so datasets fetches
    for _ in range(2):
        dl_manager = manager(tmp_path, storage_options=options, force_download=True)
        assert right(download(dl_manager, urls(origin)), origin)
    assert origin.count("GET") == 2 * len(PARTS)


def test_streaming_and_local_paths_pass_through(tmp_path: Path, origin: OriginServer) -> None:
    streaming = StreamingDownloadManager(download_config=DownloadConfig())
    assert download(streaming, urls(origin)) == urls(origin)
    local = {part: str(origin.folder / part.name) for part in PARTS}
    assert download(manager(tmp_path), local) == local
    assert not (tmp_path / "cache").exists()
    assert download(manager(tmp_path), {p: f"file://{x}" for p, x in local.items()}) == local
    assert origin.requests == []


def test_headers_of_the_storage_options_are_sent(tmp_path: Path, origin: OriginServer) -> None:
    options = {"http": {"headers": {"Authorization": "Bearer x"}}}
    download(manager(tmp_path, storage_options=options), urls(origin))
    gets = [r for r in origin.requests if r.method == "GET"]
    assert {r.authorization for r in gets} == {"Bearer x"}


def test_options_that_only_datasets_understands_are_left_to_it(
    tmp_path: Path, origin: OriginServer
) -> None:
    options = {"http": {"client_kwargs": {"headers": {"Authorization": "Bearer y"}}}}
    paths = download(manager(tmp_path, storage_options=options), urls(origin))
    assert right(paths, origin)
    assert {r.authorization for r in origin.requests} == {"Bearer y"}
    assert not list((tmp_path / "cache").glob("*.part*"))


def test_signatures_stay_out_of_the_cache(tmp_path: Path, origin: OriginServer) -> None:
    builder = Rows(cache_dir=str(tmp_path / "arrow"), data_dir=f"{origin.url}?sig=s3cret")
    builder.download_and_prepare(download_config=DownloadConfig(cache_dir=tmp_path / "cache"))
    assert builder.as_dataset("train").num_rows == len(PARTS)
    notes = [path for path in tmp_path.rglob("*.json") if path.is_file()]
    assert len(notes) > len(PARTS)
    assert not any("s3cret" in path.read_text() for path in notes)


def test_without_the_names_of_the_cache_datasets_downloads(
    tmp_path: Path, origin: OriginServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = download(manager(tmp_path), urls(origin))
    monkeypatch.setattr("geogen_hf.compat.cached_file_name", lambda url, etag: None)
    origin.reset_counts()
    assert download(manager(tmp_path), urls(origin)) == ours
    assert origin.bytes_sent == 0
    assert right(download(manager(tmp_path / "other"), urls(origin)), origin)


def test_offline_is_left_to_datasets(
    tmp_path: Path, origin: OriginServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match=r"[Oo]ffline"):
        download(manager(tmp_path), urls(origin))
    assert origin.requests == []


class Rows(datasets.GeneratorBasedBuilder):  # type: ignore[misc]
    """A builder that fetches its parts so."""

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=datasets.Features({"size": datasets.Value("int64")}))

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        paths = download_parts(dl_manager, locate_parts(self.config.data_dir, PARTS), QUICK)
        return [
            datasets.SplitGenerator(
                "train", gen_kwargs={"paths": tuple(p.address for p in paths.values())}
            )
        ]

    def _generate_examples(self, paths: tuple[str, ...]) -> Iterator[tuple[int, dict[str, int]]]:
        for key, path in enumerate(paths):
            yield key, {"size": Path(path).stat().st_size}


def test_in_a_builder_the_second_load_transfers_nothing(
    tmp_path: Path, origin: OriginServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    sizes = [(origin.folder / part.name).stat().st_size for part in PARTS]
    for run in range(2):
        builder = Rows(cache_dir=str(tmp_path / f"arrow{run}"), data_dir=origin.url)
        builder.download_and_prepare(
            download_config=DownloadConfig(cache_dir=tmp_path / "downloads")
        )
        assert builder.as_dataset("train")["size"][:] == sizes
        assert origin.bytes_sent == (0 if run else sum(sizes))
        origin.reset_counts()
