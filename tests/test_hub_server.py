"""The test server must be believed: what it refuses, limits and counts, however it is asked."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from hub_server import HubServer, hub_environment
from huggingface_hub import HfFileSystem

SMALL = os.urandom(300_000)


def post(hub: HubServer, path: str, **options: Any) -> requests.Response:
    head = {"Authorization": f"Bearer {hub.tokens.owner}"}
    return requests.post(f"{hub.url}/{path}", headers=head, timeout=10, **options)


def batch(hub: HubServer, content: bytes, repo: str = "lab/x") -> Any:
    """Ask where a content should go."""
    wanted = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
    said = post(
        hub,
        f"datasets/{repo}.git/info/lfs/objects/batch",
        json={"operation": "upload", "transfers": ["basic"], "objects": [wanted]},
    )
    said.raise_for_status()
    return said.json()["objects"][0]


def commit(
    hub: HubServer, *lines: dict[str, Any], repo: str = "lab/x", parent: str | None = None
) -> requests.Response:
    header = {"key": "header", "value": {"summary": "raw", "parentCommit": parent}}
    data = b"".join(json.dumps(line).encode() + b"\n" for line in (header, *lines))
    return post(hub, f"api/datasets/{repo}/commit/main", data=data)


def lfs_line(content: bytes) -> dict[str, Any]:
    oid = hashlib.sha256(content).hexdigest()
    return {"key": "lfsFile", "value": {"path": "x.bin", "algo": "sha256", "oid": oid}}


def add_line(path: str) -> dict[str, Any]:
    return {"key": "file", "value": {"path": path, "content": "YQ==", "encoding": "base64"}}


def empty_repo(hub: HubServer, name: str = "x") -> None:
    wanted = {"name": name, "organization": "lab", "type": "dataset", "private": True}
    post(hub, "api/repos/create", json=wanted).raise_for_status()


@pytest.fixture
def stored(hub: HubServer) -> HubServer:
    """A Hub with a repository that holds one large file."""
    empty_repo(hub)
    requests.put(batch(hub, SMALL)["actions"]["upload"]["href"], data=SMALL, timeout=10)
    assert commit(hub, lfs_line(SMALL), add_line("data/a.txt")).status_code == 200
    return hub


def wait_for(true: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_range_moves_no_more_than_asked(stored: HubServer) -> None:
    # The session is not offline as this process is: the client asks this server.
    fs = HfFileSystem(endpoint=stored.url, token=stored.tokens.owner, skip_instance_cache=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        assert sorted(fs.ls("datasets/lab/x", detail=False)) == [
            "datasets/lab/x/.gitattributes",
            "datasets/lab/x/data",
            "datasets/lab/x/x.bin",
        ]
        with fs.open("datasets/lab/x/x.bin", cache_type="none") as file:
            file.seek(200_000)
            assert file.read(100) == SMALL[200_000:200_100]
    assert stored.counters.sent["blob"] == 100


def test_content_with_another_hash_is_refused(hub: HubServer) -> None:
    empty_repo(hub)
    href = batch(hub, SMALL)["actions"]["upload"]["href"]
    said = requests.put(href, data=SMALL[:-1] + b"x", timeout=10)
    assert said.status_code == 400
    assert "BadDigest" in said.json()["error"]
    assert "actions" in batch(hub, SMALL)
    assert commit(hub, lfs_line(SMALL)).status_code == 400
    assert requests.put(href, data=SMALL, timeout=10).status_code == 200
    assert "actions" not in batch(hub, SMALL)
    assert commit(hub, lfs_line(SMALL)).status_code == 200


def test_storage_wants_a_signature_and_no_token(hub: HubServer) -> None:
    empty_repo(hub)
    href = batch(hub, SMALL)["actions"]["upload"]["href"]
    assert requests.put(href.partition("?")[0], data=SMALL, timeout=10).status_code == 403
    head = {"Authorization": f"Bearer {hub.tokens.owner}"}
    assert requests.put(href, data=SMALL, headers=head, timeout=10).status_code == 400
    assert hub.storage_tokens == [head["Authorization"]]


def test_storage_urls_expire(stored: HubServer) -> None:
    stored.signature_s = 0.5
    head = {"Authorization": f"Bearer {stored.tokens.owner}"}
    where = f"{stored.url}/datasets/lab/x/resolve/main/x.bin"
    answer = requests.get(where, headers=head, allow_redirects=False, timeout=10)
    url = answer.headers["Location"]
    assert url.startswith(stored.storage_url)
    assert requests.get(url, timeout=10).content == SMALL
    time.sleep(0.55)
    assert requests.get(url, timeout=10).status_code == 403
    later = url.replace("Expires=", "Expires=9")
    assert requests.get(later, timeout=10).status_code == 403


def test_contents_of_another_repo_do_not_count(stored: HubServer) -> None:
    empty_repo(stored, "y")
    assert commit(stored, lfs_line(SMALL), repo="lab/y").status_code == 400
    assert "actions" in batch(stored, SMALL, repo="lab/y")


def test_commit_is_whole_or_not(hub: HubServer) -> None:
    empty_repo(hub)
    before = hub.repos["lab/x"].branches["main"]
    said = commit(hub, add_line("a"), {"key": "deletedFile", "value": {"path": "b"}})
    assert (said.status_code, said.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert hub.repos["lab/x"].branches["main"] is before
    assert list(before.files) == [".gitattributes"]


def test_bytes_of_a_broken_upload_are_counted(hub: HubServer) -> None:
    empty_repo(hub)
    url = urlsplit(batch(hub, SMALL)["actions"]["upload"]["href"])
    with socket.create_connection((url.hostname, url.port)) as client:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(SMALL)}"
        client.sendall(head.encode() + b"\r\n\r\n" + SMALL[:12_345])
    wait_for(lambda: hub.counters.broken["lfs-upload"] == 1)
    assert hub.counters.received["lfs-upload"] == 12_345
    assert "actions" in batch(hub, SMALL)
    assert not list(hub.folder.glob("incoming*"))


def test_other_routes_are_not_made_up(hub: HubServer) -> None:
    assert requests.get(f"{hub.url}/api/else", timeout=10).status_code == 404
    assert hub.counters.calls["unknown"] == 1


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
