"""`geogen push` as a process: killed, interrupted, on a terminal; what readers see meanwhile."""

from __future__ import annotations

import os
import pty
import random
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import digests
from hub_server import Fault, HubServer, hub_environment
from huggingface_hub import HfApi
from pushing import REPO, commits, exported, push, there
from typer.testing import CliRunner, Result
from warm import GEOGEN, Child

from geogen_hf.cli import app
from geogen_hf.errors import UsageError
from geogen_hf.export.verify import verify_export
from geogen_hf.hub.push import IN_FLIGHT

# The client's own way to upload a file, which its HTTP library wants otherwise.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
    pytest.mark.slow,
]

BYTES_PER_S = 150_000
"""Some seconds for a push, so that it can be killed in the midst of it."""


@pytest.fixture(scope="module")
def old(unmarked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(unmarked, tmp_path_factory.mktemp("push") / "old", configs=("cameras",))


@pytest.fixture(scope="module")
def new(unmarked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    configs = ("sequences", "views", "cameras")
    return exported(unmarked, tmp_path_factory.mktemp("push") / "new", configs=configs)


def start(hub: HubServer, home: Path, *arguments: object, stderr: str | None = None) -> Child:
    env = hub_environment(hub, home, token=hub.tokens.owner)
    return Child(*GEOGEN, "push", *arguments, env=env, stderr=stderr)


def wait_until(reached: Callable[[], bool], process: Child) -> None:
    until = time.monotonic() + 60
    while not reached() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.002)


def uploaded(hub: HubServer) -> int:
    return hub.counters.received["lfs-upload"]


def large_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.suffix in (".parquet", ".png"))


def check_reader(hub: HubServer, copy: Path, *folders: Path) -> None:
    """Whoever reads now gets one of these folders, whole."""
    api = HfApi(hub.url, token=hub.tokens.owner)
    api.snapshot_download(REPO, repo_type="dataset", local_dir=copy)
    assert not verify_export(copy, quick=True, workers=1).failures
    read = {path: digest for path, digest in digests(copy).items() if not path.startswith(".")}
    assert read in [digests(folder) for folder in folders]


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_a_random_moment_a_rerun_sends_the_rest(
    seed: int, server: HubServer, old: Path, new: Path, tmp_path: Path
) -> None:
    push(server, old)
    before = uploaded(server)
    total = large_bytes(new) - large_bytes(old)  # the cameras and the picture are there
    moment = before + random.Random(seed).random() * total
    server.faults = [Fault("lfs-upload", times=None, bytes_per_s=BYTES_PER_S)]
    process = start(server, tmp_path / "home", new, REPO, "--tag", "v1")
    wait_until(lambda: uploaded(server) >= moment, process)
    process.kill()
    process.finish()
    server.faults = []
    check_reader(server, tmp_path / "killed", old)
    push(server, new, tag="v1")
    check_reader(server, tmp_path / "after", new)
    assert there(server, revision="v1") == digests(new)
    assert commits(server) == 2
    sizes = [path.stat().st_size for path in new.rglob("*") if path.is_file()]
    in_flight = max(*sizes, IN_FLIGHT * sum(sizes))
    assert total <= uploaded(server) - before <= total + in_flight


def test_killed_while_it_commits(server: HubServer, old: Path, new: Path, tmp_path: Path) -> None:
    push(server, old)
    process = start(server, tmp_path / "home", new, REPO, "--tag", "v1")
    server.faults = [Fault("commit", on_call=process.kill)]
    assert process.finish().returncode == -signal.SIGKILL
    check_reader(server, tmp_path / "killed", old, new)
    server.counters.reset()
    push(server, new, tag="v1")
    check_reader(server, tmp_path / "after", new)
    assert uploaded(server) == 0
    assert commits(server) == 2


def test_ctrl_c_and_what_it_says(server: HubServer, new: Path, tmp_path: Path) -> None:
    server.faults = [Fault("lfs-upload", times=None, bytes_per_s=BYTES_PER_S)]
    process = start(server, tmp_path / "home", new, REPO)
    wait_until(lambda: uploaded(server) > 0, process)
    process.send_signal(signal.SIGINT)
    ended = process.finish()
    assert ended.returncode == 130
    assert "run the same command again" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not ended.stdout
    assert there(server) == {}


def test_what_is_printed(server: HubServer, new: Path) -> None:
    url, token = f"{server.url}/datasets/{REPO}", server.tokens.owner

    def run(*options: str) -> Result:
        return CliRunner().invoke(app, ["push", str(new), REPO, "--token", token, *options])

    dry = run("--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "add     data/sequences/train-00000-of-00003.parquet" in dry.output
    assert dry.output.endswith(f"dry run: nothing was changed\n{url}\n")
    done = run("--public", "--tag", "v1")
    assert f"repository  {REPO}, new: public, gated (auto)" in done.output
    assert done.output.endswith(f"tag         v1\n{url}\n")
    again = run("--private", "--tag", "v1")
    assert f"repository  {REPO}: public, gated (auto) → private, gated (auto)" in again.output
    assert again.output.endswith(f"v1, there already\nnothing has changed: no commit\n{url}\n")
    assert isinstance(run("--gated", "off").exception, UsageError)


def test_progress_on_a_terminal_and_the_url_beside_it(
    server: HubServer, new: Path, tmp_path: Path
) -> None:
    server.faults = [Fault("lfs-upload", times=None, bytes_per_s=4 * BYTES_PER_S)]
    leader, follower = pty.openpty()
    process = start(server, tmp_path / "home", new, REPO, stderr=os.ttyname(follower))
    wait_until(lambda: bool(select.select([leader], [], [], 0)[0]), process)
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 4096):
            shown += piece
    except OSError:  # how Linux says that nobody holds the other end any more
        pass
    finally:
        os.close(leader)
    ended = process.finish()
    assert ended.returncode == 0, shown
    assert b"checking" in shown
    assert b"uploading" in shown
    assert ended.stdout.splitlines()[-1] == f"{server.url}/datasets/{REPO}"
    assert "\x1b" not in ended.stdout
