"""Parts on the Hub, or behind any host that wants to be shown something, as a source."""

from __future__ import annotations

import hashlib
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from datasets import DownloadConfig, StreamingDownloadManager
from hub_release import mirror
from hub_server import Fault, HubServer, use_hub
from hub_server.repos import Commit
from origin_server import OriginServer, quick_retry
from reading import list_archive

import geogen
import geogen_hf
from geogen_hf.errors import FetchError
from geogen_hf.source import files
from geogen_hf.source.fetch import fetch_parts
from geogen_hf.source.files import TransferOptions, open_remote
from geogen_hf.source.hf_cache import options_of
from geogen_hf.source.http_reader import HttpFile, hub_address
from geogen_hf.source.parts import ALL_PARTS, Location, options_for

pytestmark = pytest.mark.datasets

RAW = "hf://datasets/lab/geogen-raw"
QUICK = TransferOptions(retry=quick_retry(3), sync_s=0.0)


@pytest.fixture
def raw(hub: HubServer, by_subject: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """A Hub with a private, gated mirror of the release, and nobody logged in."""
    mirror(hub, by_subject, private=True, gated="auto")
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere/token")
    return hub


def load(hub: HubServer, token: str | None = None, **options: Any) -> Any:
    """Stream the cameras, as one who has the token."""
    hf: dict[str, Any] = {"endpoint": hub.url}
    options = {"split": "train", "streaming": True, "base_url": RAW, **options}
    if token is not None:
        hf["token"] = token
    return geogen.load("cameras", storage_options={"hf": hf}, **options)


def ids(rows: Any) -> list[str]:
    return [row["subject_id"] for row in rows]


def test_token_reaches_streaming_reads(raw: HubServer, by_subject: Path) -> None:
    expected = ids(geogen.load("cameras", "train", streaming=True, data_dir=str(by_subject)))
    assert ids(load(raw, raw.tokens.owner)) == expected
    assert {s for _, path, s in raw.counters.log if "/resolve/" in path} == {302}


def test_token_reaches_workers(raw: HubServer) -> None:
    rows = geogen.load(
        "views",
        "train",
        streaming=True,
        base_url=RAW,
        storage_options={"hf": {"endpoint": raw.url}},
        token=raw.tokens.owner,
    )
    there = pickle.loads(pickle.dumps(rows))  # as a worker that is spawned gets them
    got = [(row["subject_id"], row["view_id"]) for row in there]
    assert len(got) == len(set(got)) > 7 * 20


@pytest.mark.parametrize(
    ("token", "found"),
    [(None, "401 Unauthorized: Invalid username"), ("hf_stranger", "404 Not Found: Repository")],
)
def test_a_private_mirror_says_what_to_do(raw: HubServer, token: str | None, found: str) -> None:
    with pytest.raises(FetchError, match=rf"(?s){found}.*hf auth login.*HF_TOKEN"):
        ids(load(raw, token))


@pytest.mark.parametrize(
    ("token", "found"),
    [(None, "401.*Please log in"), ("hf_stranger", "403.*ask for access")],
)
def test_a_gated_mirror_says_what_to_do(raw: HubServer, token: str | None, found: str) -> None:
    raw.repos["lab/geogen-raw"].private = False
    with pytest.raises(FetchError, match=rf"(?s){found}.*hf auth login.*HF_TOKEN"):
        ids(load(raw, token))


def test_a_revision_stays_what_it_was(raw: HubServer) -> None:
    repo = raw.repos["lab/geogen-raw"]
    repo.tags["v1"] = repo.branches["main"]
    first = ids(load(raw, raw.tokens.owner))
    repo.branches["main"] = Commit.make(repo.branches["main"], "emptied", {})
    assert ids(load(raw, raw.tokens.owner, base_url=f"{RAW}@v1")) == first
    with pytest.raises(FetchError, match="404 Not Found: Entry not found"):
        ids(load(raw, raw.tokens.owner))


def test_a_download_from_the_hub_goes_on(raw: HubServer, tmp_path: Path) -> None:
    cut = Fault("blob", cut_after=5_000, times=None)
    raw.faults.append(cut)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", raw.tokens.owner)
        use_hub(raw, patch)
        paths = fetch_parts(tmp_path / "parts", place=RAW, options=QUICK)
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths.values()}
    files = raw.repos["lab/geogen-raw"].commit("main").files
    assert found == {name: entry.sha256 for name, entry in files.items()}
    assert cut.seen > 8
    assert raw.counters.sent["blob"] == sum(entry.size for entry in files.values())


def test_each_file_is_resolved_once(raw: HubServer) -> None:
    rows = load(raw, raw.tokens.owner)
    for _ in range(2):
        assert len(ids(rows)) > 100
    names = [path for method, path, status in raw.counters.log if "/resolve/" in path]
    assert len(names) == len(set(names)) == len(ALL_PARTS)
    assert raw.counters.calls["blob"] > len(ALL_PARTS)


def test_an_expired_address_is_resolved_again(raw: HubServer) -> None:
    rows = load(raw, raw.tokens.owner)
    expected = ids(rows)
    for _ in range(2):
        raw.expire_signatures()
        raw.counters.reset()
        assert ids(rows) == expected
        read = {path.split("?")[0] for _, path, _ in raw.counters.log if "/blob/" in path}
        assert raw.counters.calls["resolve"] == len(read) > 1
        # The storage refuses tokens, so it was shown none.
        assert {s for _, path, s in raw.counters.log if "/blob/" in path} == {206, 403}


def test_a_rate_limit_is_waited_out(raw: HubServer, caplog: pytest.LogCaptureFixture) -> None:
    expected = ids(load(raw, raw.tokens.owner))
    attempts = files.OPTIONS.retry.total
    assert isinstance(attempts, int)
    limited = Fault("resolve", status=429, retry_after=0, times=attempts + 3)
    raw.faults.append(limited)
    url = f"{RAW}/metadata_files.zip"
    where = {"hf": {"endpoint": raw.url, "token": raw.tokens.owner}}
    with caplog.at_level(logging.WARNING):
        assert len(list_archive(url, where).members) == 40
    assert limited.seen > attempts + 1
    told = [r.message for r in caplog.records if r.name.startswith("geogen_hf")]
    assert told == ["metadata_files.zip: the server limits requests; waiting for it"]
    assert expected


def test_single_identities(raw: HubServer) -> None:
    options = {"hf": {"endpoint": raw.url, "token": raw.tokens.owner}}
    with geogen_hf.open_release(RAW, storage_options=options) as release:
        assert len(release["subj_00003"].images) == 7
    with pytest.raises(FetchError, match="HF_TOKEN"):
        geogen_hf.open_release(RAW, storage_options={"hf": {"endpoint": raw.url}})


def test_the_hubs_own_token(raw: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url, mine = f"{RAW}/images_batch_1.zip", {"Authorization": "Bearer hf_mine"}
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert hub_address(url, {})[1] == mine
    assert hub_address(url, {"token": None})[1] == mine
    assert hub_address(url, {"token": True})[1] == mine
    assert hub_address(url, {"token": False})[1] == {}
    address, headers = hub_address(url, {"token": "hf_other", "endpoint": raw.url})
    assert headers == {"Authorization": "Bearer hf_other"}
    assert address == f"{raw.url}/datasets/lab/geogen-raw/resolve/main/images_batch_1.zip"


@pytest.mark.parametrize("options", [{}, {"hf": {"endpoint": "http://127.0.0.1:9"}}])
def test_a_token_alone(options: dict[str, Any]) -> None:
    config = DownloadConfig(token="hf_x", storage_options=options)
    manager = StreamingDownloadManager(download_config=config)
    assert options_for(RAW, options_of(manager.download_config))["token"] == "hf_x"


def test_headers_reach_streaming_reads(by_subject: Path) -> None:
    with OriginServer(by_subject) as origin:
        options = {"http": {"headers": {"Authorization": "Bearer x"}}}
        rows = geogen.load(
            "cameras", "train", streaming=True, base_url=origin.url, storage_options=options
        )
        assert len(ids(rows)) > 100
        assert {request.authorization for request in origin.requests} == {"Bearer x"}


def test_other_options_of_http_go_through_fsspec(by_subject: Path) -> None:
    with OriginServer(by_subject) as origin:
        options = {"client_kwargs": {"headers": {"Authorization": "Bearer y"}}}
        url = f"{origin.url}/metadata_files.zip"
        directory = list_archive(url, {"http": options})
        assert {request.authorization for request in origin.requests} == {"Bearer y"}
    assert len(directory.members) == 40


def test_options_of_other_file_systems(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"content")
    where = {"dir": {"path": str(tmp_path), "fo": "file://"}, "file": {"x": 1}}
    remote = open_remote(Location("file:///x", storage_options=where))
    assert not isinstance(remote, HttpFile)
    assert isinstance(open_remote(Location("https://host/x", storage_options=where)), HttpFile)


def test_credentials_travel_and_are_not_shown(
    raw: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    where = {"hf": {"endpoint": raw.url, "token": raw.tokens.owner}}
    directory = list_archive(f"{RAW}/metadata_files.zip", where)
    copy = pickle.loads(pickle.dumps(directory))
    assert options_for(RAW, copy.members[0].archive.storage_options)["token"] == raw.tokens.owner
    assert raw.tokens.owner not in f"{directory!r} {directory.archive}" + caplog.text
    assert {hash(member) for member in copy.members} == {hash(m) for m in directory.members}
