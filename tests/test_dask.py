"""Export on a Dask cluster: a scheduler and two workers, each a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import typer
from conftest import digests
from typer.testing import CliRunner
from warm import Child

import geogen_hf
from geogen_hf.cli.export import export
from geogen_hf.errors import GeoGenError, OutputError
from geogen_hf.export.folder import export_release
from geogen_hf.export.options import ExportOptions
from geogen_hf.export.tasks import dask_executor
from geogen_hf.release.release import read_release
from geogen_hf.source.parts import ALL_PARTS, locate_parts


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler and two worker processes, started from the shell, reached by TCP."""
    place = tmp_path_factory.mktemp("dask")
    root = str(Path(geogen_hf.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "DASK_DISTRIBUTED__DASHBOARD__LINK": ""}
    told = place / "scheduler.json"
    dask = ["-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = [*dask, "worker", "--scheduler-file", str(told), "--nthreads", "1", "--no-dashboard"]
    commands = [[*scheduler, "--scheduler-file", str(told)], *[[*worker, "--no-nanny"]] * 2]
    log = str(place / "log")
    processes = [Child(*command, cwd=place, env=environment, stderr=log) for command in commands]
    try:
        deadline = time.monotonic() + 60
        while not told.exists():
            assert time.monotonic() < deadline, (place / "log").read_text()
            time.sleep(0.05)
        from distributed import Client

        with Client(scheduler_file=str(told), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            yield client.scheduler.address
    finally:
        for process in reversed(processes):  # workers first: they take leave of the scheduler
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.finish(timeout=5)


# The workers cannot import this module.
WHERE = "__import__('time').sleep(0.05) or __import__('os').getpid()"


def test_the_cluster_is_two_other_processes(address: str) -> None:
    with dask_executor(address) as executor:
        pids = {
            future.result()
            for future in [executor.submit(eval, f"{i} * 0 or ({WHERE})") for i in range(12)]
        }
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_the_same_bytes_from_a_cluster(
    address: str,
    by_subject: Path,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = read_release(locate_parts(by_subject))
    options = ExportOptions(("sequences", "views", "cameras", "metadata"))
    monkeypatch.chdir(tmp_path)  # where the workers are not
    with dask_executor(address) as executor:
        done = export_release(release, Path("cluster"), options, executor=executor)
    assert digests(tmp_path / "cluster") == digests(exported)
    assert done.written == 5


def test_the_command_takes_a_scheduler(address: str, by_view: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(export)
    arguments = [str(by_view), "--config", "views", "--image-format", "webp", "--part", "2"]
    arguments += ["--camera-convention", "world_to_camera opencv unchecked"]
    one = CliRunner().invoke(app, [*arguments, str(tmp_path / "a"), "--scheduler", address])
    assert one.exit_code == 0, one.exception
    two = CliRunner().invoke(app, [*arguments, str(tmp_path / "b"), "--workers", "1"])
    assert two.exit_code == 0, two.exception
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_errors_come_back_from_the_cluster(address: str, by_subject: Path, tmp_path: Path) -> None:
    parts = Path(shutil.copytree(by_subject, tmp_path / "parts"))
    release = read_release(locate_parts(parts))
    for part in ALL_PARTS:
        (parts / part.name).unlink()  # gone when the workers look for them
    with dask_executor(address) as executor, pytest.raises(GeoGenError, match="images_batch"):
        export_release(release, tmp_path / "geogen", executor=executor)
    assert not (tmp_path / "geogen" / "README.md").exists()


def test_a_scheduler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geogen_hf.export.tasks._DASK_TIMEOUT_S", 1)
    with (
        pytest.raises(OutputError, match="scheduler does not answer"),
        dask_executor("tcp://127.0.0.1:9"),
    ):
        pass
