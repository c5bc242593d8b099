"""The test server must be believed: what the real clients do to it, and what it refuses."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from hub_client import ClientError, Worker
from hub_server import Fault, HubServer, hub_environment

README = "---\nlicense: other\nlicense_name: r-uda\npretty_name: X\n---\n# X\n"
SMALL = os.urandom(300_000)
LARGE = os.urandom(1_200_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(README)
    (folder / "splits.csv").write_text("subject_id,split\n" * 20)
    (folder / "data" / "small.parquet").write_bytes(SMALL)
    (folder / "data" / "large.parquet").write_bytes(LARGE)
    return folder


Ask = Callable[..., Any]
"""Runs a function of `hub_client`, as somebody."""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    home = tmp_path_factory.mktemp("home")
    with Worker(hub_environment("http://127.0.0.1:9", home)) as worker:
        yield worker


@pytest.fixture
def as_user(hub: HubServer, worker: Worker) -> Callable[[str | None], Ask]:
    def user(name: str | None) -> Ask:
        return partial(worker.ask, hub.url, name and getattr(hub.tokens, name))

    return user


@pytest.fixture
def owner(as_user: Callable[[str | None], Ask]) -> Ask:
    return as_user("owner")


@pytest.fixture
def pull(owner: Ask, tmp_path: Path) -> Ask:
    return partial(owner, "pull", cache=str(tmp_path / "cache"))


@pytest.fixture
def pushed(hub: HubServer, owner: Ask, folder: Path) -> str:
    """The commit of a pushed folder, tagged v1.0.0."""
    owner("make_repo", private=True, gated="auto")
    commit = owner("push", folder=str(folder), tag="v1.0.0")
    assert isinstance(commit, str)
    return commit


def sums(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    digest = {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()) for p in files}
    return {name: found.hexdigest() for name, found in digest.items()}


def batch(hub: HubServer, content: bytes, repo: str = "lab/x", size: int | None = None) -> Any:
    """Ask where a content should go."""
    wanted = {"oid": hashlib.sha256(content).hexdigest(), "size": size or len(content)}
    said = requests.post(
        f"{hub.url}/datasets/{repo}.git/info/lfs/objects/batch",
        headers={"Authorization": f"Bearer {hub.tokens.owner}"},
        json={"operation": "upload", "transfers": ["basic"], "objects": [wanted]},
        timeout=10,
    )
    said.raise_for_status()
    return said.json()["objects"][0]


def commit_raw(hub: HubServer, *lines: dict[str, Any], repo: str = "lab/x") -> requests.Response:
    header = {"key": "header", "value": {"summary": "raw", "description": ""}}
    return requests.post(
        f"{hub.url}/api/datasets/{repo}/commit/main",
        headers={"Authorization": f"Bearer {hub.tokens.owner}"},
        data=b"".join(json.dumps(line).encode() + b"\n" for line in (header, *lines)),
        timeout=10,
    )


def lfs_line(content: bytes) -> dict[str, Any]:
    oid = hashlib.sha256(content).hexdigest()
    return {"key": "lfsFile", "value": {"path": "x.bin", "algo": "sha256", "oid": oid}}


def empty_repo(hub: HubServer, name: str = "x") -> None:
    said = requests.post(
        f"{hub.url}/api/repos/create",
        headers={"Authorization": f"Bearer {hub.tokens.owner}"},
        json={"name": name, "organization": "lab", "type": "dataset", "private": True},
        timeout=10,
    )
    said.raise_for_status()


def wait_for(true: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# What the clients do.


def test_pushed_folder_comes_back(
    hub: HubServer, owner: Ask, folder: Path, pushed: str, pull: Ask
) -> None:
    expected = sums(folder)  # upload_folder takes away what is not in it; not .gitattributes
    assert pull().items() >= expected.items()
    sent = hub.counters.received
    assert sent["lfs-upload"] == len(SMALL) + len(LARGE)
    said = owner("describe")
    assert (said["sha"], said["private"], said["gated"]) == (pushed, True, "auto")
    assert said["card"]["license_name"] == "r-uda"
    assert said["files"]["data/large.parquet"] == [len(LARGE), expected["data/large.parquet"]]
    assert said["files"]["README.md"] == [len(README), None]


def test_unchanged_folder_makes_no_commit(
    hub: HubServer, owner: Ask, folder: Path, pushed: str
) -> None:
    before = hub.counters.calls["commit"]
    assert owner("push", folder=str(folder)) == pushed
    assert hub.counters.calls["commit"] == before


def test_tag_keeps_what_main_loses(owner: Ask, folder: Path, pushed: str, pull: Ask) -> None:
    expected = sums(folder)
    (folder / "data" / "small.parquet").unlink()
    (folder / "data" / "new.parquet").write_bytes(b"new")
    later = owner("push", folder=str(folder))
    assert pull(revision="v1.0.0").items() >= expected.items()
    assert pull(revision=pushed).items() >= expected.items()
    now = pull()
    assert "data/small.parquet" not in now
    assert now.items() >= sums(folder).items()
    assert later != pushed


def test_questions(hub: HubServer, owner: Ask, pushed: str, pull: Ask) -> None:
    pr = owner("change", delete=["splits.csv"], create_pr=True)
    assert pr[1] == "refs/pr/1"
    said = owner("look_around")
    assert said["who"] == ["owner", ["lab"]]
    assert said["refs"]["branches"] == {"main": pushed}
    assert said["refs"]["tags"] == {"v1.0.0": pushed}
    assert list(said["refs"]["pull_requests"].values()) == [pr[0]]
    assert [path for path, _ in said["paths"]] == ["data", "README.md"]
    assert said["exists"] == [True, False]
    assert said["revisions"] == [True, False]
    assert "splits.csv" not in pull(revision="refs/pr/1")
    owner("name_revisions")
    repo = hub.repos["dataset", "lab/x"]
    assert (list(repo.branches), list(repo.tags)) == (["main", "dev"], ["v1.0.0", "t/1"])


def test_listing_in_pages(hub: HubServer, owner: Ask, pushed: str) -> None:
    hub.page_size = 2
    hub.counters.reset()
    found = owner("listing")
    assert [path for _, path, _, _ in found] == [
        ".gitattributes",
        "README.md",
        "data",
        "data/large.parquet",
        "data/small.parquet",
        "splits.csv",
    ]
    assert found[2][0] == "RepoFolder"
    assert hub.counters.calls["tree"] == 3


def test_range_moves_no_more_than_asked(hub: HubServer, owner: Ask, pushed: str) -> None:
    path = "datasets/lab/x@v1.0.0/data/large.parquet"
    found, size, names = owner("read_range", path=path, start=700_000, stop=700_100)
    assert bytes.fromhex(found) == LARGE[700_000:700_100]
    assert size == len(LARGE)
    assert names[0] == "datasets/lab/x@v1.0.0/data/large.parquet"
    assert hub.counters.sent["blob"] == 100


def test_commit_onto_another_parent_is_refused(owner: Ask, pushed: str) -> None:
    owner("change", add={"a.txt": "a"}, parent_commit=pushed)
    with pytest.raises(ClientError, match=r"(?s)412.*A commit has happened since"):
        owner("change", add={"a.txt": "b"}, parent_commit=pushed)


def test_card_is_checked(hub: HubServer, owner: Ask) -> None:
    owner("make_repo")
    with pytest.raises(ClientError, match="license"):
        owner("change", add={"README.md": "---\nlicense: r-uda\n---\n"})
    bad = {"path": "README.md", "content": "LS0tCmE6IFsKLS0tCg==", "encoding": "base64"}
    said = commit_raw(hub, {"key": "file", "value": bad})
    assert (said.status_code, said.json()["error"]) == (400, "Invalid metadata in README.md.")


# Who may what.


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "GatedRepoError: 401.*log in"),
        ("stranger", "GatedRepoError: 403.*ask for access"),
        ("expired", "401.*is expired"),
        ("unknown", "401.*Invalid credentials"),
    ],
)
def test_gate_is_shut(
    owner: Ask,
    as_user: Callable[[str | None], Ask],
    tmp_path: Path,
    token: str | None,
    message: str,
) -> None:
    owner("make_repo", gated="manual")
    somebody = as_user(token)
    with pytest.raises(ClientError, match=f"(?s){message}"):
        somebody("download", filename=".gitattributes", cache=str(tmp_path))


def test_gate_shows_names_only(
    hub: HubServer, pushed: str, as_user: Callable[[str | None], Ask], tmp_path: Path
) -> None:
    hub.repos["dataset", "lab/x"].private = False
    nobody = as_user(None)
    assert len(nobody("listing")) == 6
    with pytest.raises(ClientError, match="Gated"):
        nobody("download", filename="data/small.parquet", cache=str(tmp_path))


@pytest.mark.parametrize(
    ("token", "status"), [(None, 401), ("stranger", 404), ("reader", 404)], ids=str
)
def test_private_repo_is_not_there(
    owner: Ask, as_user: Callable[[str | None], Ask], token: str | None, status: int
) -> None:
    owner("make_repo", private=True)
    with pytest.raises(ClientError, match=f"RepositoryNotFoundError: {status}"):
        as_user(token)("listing")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("owner_read", "must use a write token"),
        ("colleague", "do not have write access"),
        ("reader", "do not have write access"),
    ],
)
def test_only_writers_write(
    hub: HubServer, owner: Ask, as_user: Callable[[str | None], Ask], token: str, reason: str
) -> None:
    owner("make_repo")
    somebody = as_user(token)
    with pytest.raises(ClientError, match=f"(?s)403.*{reason}"):
        somebody("change", add={"a.txt": "a"})
    with pytest.raises(ClientError, match=r"(?s)403.*rights to create"):
        somebody("make_repo", name="lab/y")
    assert len(hub.repos["dataset", "lab/x"].branches["main"].files) == 1


# What it refuses, however it is asked.


def test_content_with_another_hash_is_refused(hub: HubServer) -> None:
    empty_repo(hub)
    href = batch(hub, SMALL)["actions"]["upload"]["href"]
    said = requests.put(href, data=SMALL[:-1] + b"x", timeout=10)
    assert said.status_code == 400
    assert "BadDigest" in said.json()["error"]
    assert "actions" in batch(hub, SMALL)
    assert commit_raw(hub, lfs_line(SMALL)).status_code == 400
    assert requests.put(href, data=SMALL, timeout=10).status_code == 200
    assert "actions" not in batch(hub, SMALL)
    assert commit_raw(hub, lfs_line(SMALL)).status_code == 200


def test_size_is_verified(hub: HubServer) -> None:
    empty_repo(hub)
    said = batch(hub, SMALL)
    verify = said["actions"]["verify"]["href"]
    head = {"Authorization": f"Bearer {hub.tokens.owner}"}
    wanted = {"oid": said["oid"], "size": len(SMALL)}
    assert requests.post(verify, json=wanted, headers=head, timeout=10).status_code == 404
    requests.put(said["actions"]["upload"]["href"], data=SMALL, timeout=10)
    assert requests.post(verify, json=wanted, headers=head, timeout=10).status_code == 200
    wanted["size"] += 1
    assert requests.post(verify, json=wanted, headers=head, timeout=10).status_code == 422


def test_storage_wants_a_signature_and_no_token(hub: HubServer) -> None:
    empty_repo(hub)
    href = batch(hub, SMALL)["actions"]["upload"]["href"]
    assert requests.put(href.partition("?")[0], data=SMALL, timeout=10).status_code == 403
    head = {"Authorization": f"Bearer {hub.tokens.owner}"}
    assert requests.put(href, data=SMALL, headers=head, timeout=10).status_code == 400


def test_storage_urls_expire(hub: HubServer, owner: Ask, pushed: str) -> None:
    hub.signature_s = 0.2
    head = {"Authorization": f"Bearer {hub.tokens.owner}"}
    where = f"{hub.url}/datasets/lab/x/resolve/main/data/small.parquet"
    answer = requests.get(where, headers=head, allow_redirects=False, timeout=10)
    url = answer.headers["Location"]
    assert url.startswith(hub.storage_url)
    assert requests.get(url, timeout=10).content == SMALL
    time.sleep(0.25)
    assert requests.get(url, timeout=10).status_code == 403
    later = url.replace("Expires=", "Expires=9")
    assert requests.get(later, timeout=10).status_code == 403


def test_resolve_is_limited(hub: HubServer, owner: Ask, pushed: str) -> None:
    hub.resolve_limit = (3, 600)
    head = {"Authorization": f"Bearer {hub.tokens.owner}"}
    where = f"{hub.url}/datasets/lab/x/resolve/main/README.md"
    answers = [requests.get(where, headers=head, timeout=10) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    wait = answers[-1].headers["Retry-After"]
    assert 0 < int(wait) <= 600
    assert answers[-1].headers["RateLimit"] == f'"resolvers";r=0;t={wait}'
    assert owner("listing")  # other requests have other limits


def test_contents_of_another_repo_do_not_count(hub: HubServer) -> None:
    empty_repo(hub)
    empty_repo(hub, "y")
    requests.put(batch(hub, SMALL)["actions"]["upload"]["href"], data=SMALL, timeout=10)
    assert commit_raw(hub, lfs_line(SMALL), repo="lab/y").status_code == 400
    assert "actions" in batch(hub, SMALL, repo="lab/y")


def test_commit_is_whole_or_not(hub: HubServer) -> None:
    empty_repo(hub)
    before = hub.repos["dataset", "lab/x"].branches["main"]
    good = {"key": "file", "value": {"path": "a", "content": "YQ==", "encoding": "base64"}}
    missing = {"key": "deletedFile", "value": {"path": "b"}}
    said = commit_raw(hub, good, missing)
    assert (said.status_code, said.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert hub.repos["dataset", "lab/x"].branches["main"] is before
    assert list(before.files) == [".gitattributes"]


def test_quota(hub: HubServer, owner: Ask, folder: Path) -> None:
    hub.quota_bytes = len(SMALL) + 1
    owner("make_repo")
    with pytest.raises(ClientError, match=r"(?s)403.*storage limit"):
        owner("push", folder=str(folder))
    (folder / "data" / "large.parquet").unlink()
    owner("push", folder=str(folder))


# Faults, and clients that die.


def test_bytes_of_a_broken_upload_are_counted(hub: HubServer) -> None:
    empty_repo(hub)
    url = urlsplit(batch(hub, SMALL)["actions"]["upload"]["href"])
    with socket.create_connection((url.hostname, url.port)) as client:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(SMALL)}"
        client.sendall(head.encode() + b"\r\n\r\n" + SMALL[:12_345])
    wait_for(lambda: hub.counters.broken["lfs-upload"] == 1)
    assert hub.counters.received["lfs-upload"] == 12_345
    assert "actions" in batch(hub, SMALL)
    assert not list((hub.blobs.folder / "incoming").iterdir())


def test_storage_takes_no_chunks(hub: HubServer) -> None:
    empty_repo(hub)
    href = batch(hub, SMALL)["actions"]["upload"]["href"]
    pieces = [SMALL[:100_000], SMALL[100_000:]]
    assert requests.put(href, data=iter(pieces), timeout=10).status_code == 501
    assert hub.counters.received["lfs-upload"] == len(SMALL)


def test_at_most_256_files_a_call(hub: HubServer) -> None:
    empty_repo(hub)
    files = [{"path": f"{n}.txt", "sample": "", "size": 0} for n in range(257)]
    for count, status in ((256, 200), (257, 413)):
        said = requests.post(
            f"{hub.url}/api/datasets/lab/x/preupload/main",
            headers={"Authorization": f"Bearer {hub.tokens.owner}"},
            json={"files": files[:count]},
            timeout=10,
        )
        assert said.status_code == status


def test_killed_client(hub: HubServer, owner: Ask, tmp_path: Path) -> None:
    content = os.urandom(12_000_000)
    path = tmp_path / "shard.parquet"
    path.write_bytes(content)
    owner("make_repo")
    fault = Fault("lfs-upload", bytes_per_s=1_000_000)
    hub.faults.append(fault)
    ask = {"path": str(path)}
    env = hub_environment(hub, tmp_path / "home", hub.tokens.owner)
    command = [sys.executable, "-m", "hub_client"]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None
        client.stdin.write(json.dumps([hub.url, hub.tokens.owner, "preupload", ask]) + "\n")
        client.stdin.flush()
        wait_for(lambda: hub.counters.received["lfs-upload"] > 100_000)
        client.kill()
    fault.bytes_per_s = None  # what the kernel still holds comes quickly
    wait_for(lambda: hub.counters.broken["lfs-upload"] == 1)
    assert hub.counters.received["lfs-upload"] < len(content)
    owner("preupload", path=str(path))
    assert hub.repos["dataset", "lab/x"].blobs == {hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("lfs-upload", status=503),
        Fault("lfs-upload", drop_after=100_000),
        Fault("lfs-batch", status=500),
    ],
    ids=["status", "drop", "batch"],
)
def test_client_tries_again(hub: HubServer, owner: Ask, folder: Path, fault: Fault) -> None:
    owner("make_repo")
    hub.faults.append(fault)
    with contextlib.suppress(ClientError):  # older clients do not ask again for the batch
        owner("preupload", path=str(folder / "data" / "small.parquet"))
    assert fault.seen >= 1
    owner("preupload", path=str(folder / "data" / "small.parquet"))
    assert hub.repos["dataset", "lab/x"].blobs == {hashlib.sha256(SMALL).hexdigest()}
    extra = {503: len(SMALL), None: 100_000}.get(fault.status, 0)
    assert hub.counters.received["lfs-upload"] == len(SMALL) + extra


def test_lost_answer_of_a_commit(hub: HubServer, owner: Ask) -> None:
    owner("make_repo")
    hub.faults.append(Fault("commit", lose_answer=True))
    with pytest.raises(ClientError):
        owner("change", add={"a.txt": "a"})
    assert "a.txt" in hub.repos["dataset", "lab/x"].branches["main"].files


def test_other_routes_are_not_made_up(hub: HubServer) -> None:
    assert requests.get(f"{hub.url}/api/else", timeout=10).status_code == 404
    assert hub.counters.calls["unknown"] == 1


def test_fault_at_a_later_call() -> None:
    fault = Fault("commit", call=2, times=2)
    assert [fault.take() for _ in range(4)] == [False, True, True, False]


def test_serves_as_a_process(tmp_path: Path) -> None:
    env = hub_environment("", tmp_path / "home")
    command = [sys.executable, "-m", "hub_server", str(tmp_path / "hub")]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        requests.post(f"{url}/-/faults", json=[{"route": "whoami", "status": 502}], timeout=10)
        assert requests.get(f"{url}/api/whoami-v2", timeout=10).status_code == 502
        counters = requests.get(f"{url}/-/counters", timeout=10).json()
        assert counters["calls"] == {"whoami": 1}
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
