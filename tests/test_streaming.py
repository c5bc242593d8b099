"""Streaming through the builder out of archives on a web server."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from conftest import TRAIN, ReleaseMaker
from datasets.distributed import split_dataset_by_node
from origin_server import Faults, OriginServer, quick_retry, replace
from test_contract import rows_of, undecoded
from torch.utils.data import DataLoader
from zips import edited

import geogen
from geogen_hf.errors import ArchiveError, FetchError
from geogen_hf.release.shards import make_shards, split_shard
from geogen_hf.source import files
from geogen_hf.source.files import TransferOptions
from geogen_hf.source.parts import ALL_PARTS, IMAGE_PARTS

pytestmark = pytest.mark.datasets

LAYOUTS = ["by_subject", "by_view"]
NAMED = {"camera_convention": "world_to_camera opencv unchecked"}
"""Nothing is read for evidence."""
HASTE = TransferOptions(retry=quick_retry(4), read_s=5.0)


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "OPTIONS", HASTE)


@pytest.fixture(params=LAYOUTS)
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def origin(folder: Path) -> Iterator[OriginServer]:
    with OriginServer(folder) as server:
        yield server


def names_behind(origin: OriginServer) -> Any:
    """Names of the training rows, without the pixels."""
    rows = geogen.load("views", split="train", streaming=True, base_url=origin.url, **NAMED)
    return rows.select_columns(["subject_id", "view_id"])


@pytest.fixture
def stream(origin: OriginServer) -> Any:
    return names_behind(origin)


@pytest.fixture
def heavy(maker: ReleaseMaker) -> ReleaseMaker:
    """Images of 60 KB and more: what follows a PNG's end belongs to the file nevertheless."""
    rng = random.Random(3)
    for part in IMAGE_PARTS:
        for name in maker.zips[part.name]:
            maker.zips[part.name][name] += rng.randbytes(rng.randrange(60_000, 70_000))
    return maker


def names(rows: Any) -> list[tuple[str, int]]:
    return [(row["subject_id"], row["view_id"]) for row in rows]


ALL_NAMES = sorted((subject_id, view) for subject_id in TRAIN for view in range(7))


@pytest.mark.parametrize("config", ["sequences", "views", "cameras"])
def test_remote_rows_are_the_local_ones(config: str, folder: Path, origin: OriginServer) -> None:
    remote = geogen.load(config, streaming=True, base_url=origin.url)
    local = geogen.load(config, streaming=True, data_dir=str(folder))
    assert list(remote) == list(local)
    for split in local:
        one, other = rows_of({split: remote[split]}), rows_of({split: local[split]})
        assert one == other
        assert list(one[split]) == list(other[split])


@pytest.mark.parametrize("layout", ["by-subject", "by-view"])
def test_bytes_and_requests_are_few(heavy: ReleaseMaker, layout: str) -> None:
    if layout == "by-view":
        images = [item for part in IMAGE_PARTS for item in heavy.zips[part.name].items()]
        for view, part in enumerate(IMAGE_PARTS):
            heavy.zips[part.name] = {n: data for n, data in images if n.endswith(f"/{view}.png")}
    folder = heavy.write()
    own = sum((folder / part.name).stat().st_size for part in IMAGE_PARTS)
    with OriginServer(folder) as origin:
        loaded = geogen.load("sequences", streaming=True, base_url=origin.url, **NAMED)
        listing, origin_bytes = len(origin.requests), origin.bytes_sent
        assert listing <= 9
        subjects = sum(1 for split in loaded.values() for _ in undecoded(split))
        assert subjects == 7
        assert origin.bytes_sent - origin_bytes < own * 1.01
        assert len(origin.requests) - listing <= (7 if layout == "by-subject" else 42)


def test_headers_alone_are_read_for_cameras(heavy: ReleaseMaker) -> None:
    with OriginServer(heavy.write()) as origin:
        loaded = geogen.load("cameras", streaming=True, base_url=origin.url)
        before = origin.bytes_sent
        rows = [row for split in loaded.values() for row in split]
        assert {(row["width"], row["height"]) for row in rows} == {(48, 48)}
        assert len(rows) == 49
        assert origin.bytes_sent - before <= 49 * 512


def test_broken_connections_and_busy_servers_do_not_show(heavy: ReleaseMaker) -> None:
    folder = heavy.write()
    rng = random.Random(9)
    expected = rows_of(geogen.load("sequences", streaming=True, data_dir=str(folder)))
    with OriginServer(folder) as origin:
        for part in ALL_PARTS:
            size = (folder / part.name).stat().st_size
            cuts = [rng.randrange(size) for _ in range(5)]
            origin.faults[part.name] = Faults(cut_at=cuts, status_times=2, retry_after="0")
        found = geogen.load("sequences", streaming=True, base_url=origin.url)
        assert rows_of(found) == expected


def test_a_part_replaced_while_streaming_is_an_error(heavy: ReleaseMaker) -> None:
    folder = heavy.write()
    with OriginServer(folder) as origin:
        loaded = geogen.load("views", split="train", streaming=True, base_url=origin.url)
        for part in IMAGE_PARTS:
            replace(folder / part.name, (folder / part.name).read_bytes())
        with pytest.raises(FetchError, match="changed upstream"):
            list(undecoded(loaded))


def test_skipping_is_for_damage_and_not_for_the_network(heavy: ReleaseMaker) -> None:
    folder = heavy.write()
    name = IMAGE_PARTS[0].name
    with edited(folder / name) as data:
        data[30_000] ^= 1
    with OriginServer(folder) as origin:

        def load(policy: str) -> Any:
            return geogen.load(
                "sequences", streaming=True, base_url=origin.url, on_bad_subject=policy
            )

        def count(loaded: Any) -> int:
            return sum(1 for split in loaded.values() for _ in undecoded(split))

        with pytest.raises(ArchiveError, match="a member is damaged"):
            count(load("raise"))
        assert count(load("skip")) == 6
        loaded = load("skip")
        origin.faults[IMAGE_PARTS[1].name] = Faults(missing=True)
        with pytest.raises(FetchError, match="404"):
            count(loaded)


def test_leaving_early_reads_little_more(heavy: ReleaseMaker) -> None:
    with OriginServer(heavy.write()) as origin:
        loaded = geogen.load("views", split="train", streaming=True, base_url=origin.url)
        before = origin.bytes_sent
        assert next(iter(undecoded(loaded)))["image"]["bytes"]
        whole = sum((origin.folder / part.name).stat().st_size for part in IMAGE_PARTS)
        assert origin.bytes_sent - before < whole


def test_every_row_once_on_every_node(stream: Any) -> None:
    shares = [names(split_dataset_by_node(stream, rank, world_size=3)) for rank in range(3)]
    assert sorted(row for share in shares for row in share) == ALL_NAMES
    assert all(shares)


def test_shuffling_is_by_seed_and_epoch(stream: Any) -> None:
    def order(seed: int, epoch: int) -> list[tuple[str, int]]:
        shuffled = stream.shuffle(seed=seed, buffer_size=20)
        shuffled.set_epoch(epoch)
        return names(shuffled)

    first = order(1, 0)
    assert sorted(first) == ALL_NAMES
    assert order(1, 0) == first
    others = [order(1, 1), order(2, 0)]
    assert all(sorted(other) == ALL_NAMES for other in others)
    assert first not in others


@pytest.mark.parametrize("stops", [(1, 2), (6, 7), (55, 130), (181, 182)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_resuming_goes_on_at_the_right_row(
    stream: Any, stops: tuple[int, int], shuffled: bool
) -> None:
    if shuffled and datasets.__version__.startswith("3."):
        pytest.skip(
            "on resuming, datasets 3 leaves out what its shuffle buffer held, be it one row"
        )

    def fresh() -> Any:
        return stream.shuffle(seed=3, buffer_size=1) if shuffled else stream

    whole = names(fresh())
    state: dict[str, Any] | None = None
    taken: list[tuple[str, int]] = []
    for stop in (*stops, None):
        part = fresh()
        if state is not None:
            part.load_state_dict(state)
        for row in part:
            taken.append((row["subject_id"], row["view_id"]))
            if len(taken) == stop:
                state = part.state_dict()
                break
    assert taken == whole


def test_resuming_does_not_fetch_what_was_seen(heavy: ReleaseMaker) -> None:
    folder = heavy.write()
    with OriginServer(folder) as origin:

        def load() -> Any:
            return undecoded(
                geogen.load("views", split="train", streaming=True, base_url=origin.url)
            )

        whole = names(load())
        stream = load()
        for count, _ in enumerate(stream, start=1):
            if count == len(whole) - 10:
                state = stream.state_dict()
                break
        again = load()
        again.load_state_dict(state)
        before = origin.bytes_sent
        assert names(again) == whole[-10:]
        assert origin.bytes_sent - before < 14 * 71_000  # two subjects


def test_resuming_counts_rows_and_not_damaged_subjects(heavy: ReleaseMaker) -> None:
    folder = heavy.write()
    subject_id = sorted(s for s in TRAIN if s < "subj_00007")[0]
    path = folder / next(
        part.name
        for part in IMAGE_PARTS
        if any(name.startswith(subject_id) for name in heavy.zips[part.name])
    )
    with edited(path) as data:
        data[30_000] ^= 1
    stream = geogen.load(
        "views", split="train", streaming=True, data_dir=str(folder), on_bad_subject="skip"
    ).select_columns(["subject_id", "view_id"])
    whole = names(stream)
    assert subject_id not in {name for name, _ in whole}
    for stop, row in enumerate(stream, start=1):
        if stop == 9:
            state = stream.state_dict()
            assert (row["subject_id"], row["view_id"]) == whole[8]
            break
    stream.load_state_dict(state)
    assert names(stream) == whole[9:]


def test_resharding_gives_smaller_shards_and_the_same_rows(folder: Path) -> None:
    from geogen_hf.release.release import read_release
    from geogen_hf.source.parts import locate_parts

    release = read_release(locate_parts(folder))
    (shard, *_) = make_shards([*release.subjects] * 4)["train"]
    subjects = shard.subjects * 3
    pieces = split_shard(type(shard)(subjects, "skip"))
    assert [subject for piece in pieces for subject in piece.subjects] == list(subjects)
    assert len(pieces) == len(subjects) // 8
    assert {piece.on_bad_subject for piece in pieces} == {"skip"}
    assert split_shard(pieces[0]) == [pieces[0]] or len(pieces[0].subjects) >= 16


@pytest.mark.skipif(not hasattr(datasets.IterableDataset, "reshard"), reason="came with datasets 5")
def test_reshard_keeps_the_rows(stream: Any) -> None:
    resharded = stream.reshard()
    assert resharded.num_shards >= stream.num_shards
    assert names(resharded) == names(stream)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize(("method", "workers"), [(None, 0), ("fork", 2), ("fork", 3)])
def test_every_row_once_from_data_loaders(stream: Any, method: str | None, workers: int) -> None:
    next(iter(stream))  # connections are open when the workers are forked
    assert loaded(stream, method, workers) == ALL_NAMES


def test_every_row_once_from_workers_that_inherit_nothing(by_subject: Path) -> None:
    with OriginServer(by_subject) as origin:
        assert loaded(names_behind(origin), "forkserver", 2) == ALL_NAMES


def loaded(stream: Any, method: str | None, workers: int) -> list[tuple[str, int]]:
    loader = DataLoader(
        stream, batch_size=None, num_workers=workers, multiprocessing_context=method
    )
    return sorted(names(loader))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_every_row_once_from_workers_on_nodes(stream: Any) -> None:
    found: list[tuple[str, int]] = []
    for rank in range(2):
        share = split_dataset_by_node(stream.shuffle(seed=5, buffer_size=9), rank, world_size=2)
        loader = DataLoader(share, batch_size=None, num_workers=2)
        found += names(loader)
    assert sorted(found) == ALL_NAMES


def test_a_loader_resumes(stream: Any) -> None:
    whole = names(DataLoader(stream, batch_size=None))
    rows = iter(DataLoader(stream, batch_size=None))
    taken = [next(rows) for _ in range(61)]
    stream.load_state_dict(stream.state_dict())
    assert names(taken) + names(DataLoader(stream, batch_size=None)) == whole


def test_arrays_keep_their_shapes(origin: OriginServer) -> None:
    loaded = geogen.load("sequences", split="train", streaming=True, base_url=origin.url)
    row = next(iter(loaded))
    assert np.asarray(row["extrinsics"]).shape == (7, 4, 4)
    assert [image.size for image in row["images"]] == [(48, 48)] * 7
