from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geogen_hf.threads import worker_processes

SCRIPT = """
import os, sys, time
from pathlib import Path
from geogen_hf.threads import worker_processes
def main():
    with worker_processes(2) as pool:
        pids = {pool.submit(os.getpid).result() for _ in range(20)}
        Path(sys.argv[1]).write_text(" ".join(map(str, pids)))
        pool.submit(time.sleep, 60).result()
if __name__ == "__main__":
    main()
"""


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("interrupted", [False, True])
def test_workers_end_with_their_parent_and_not_before(tmp_path: Path, interrupted: bool) -> None:
    script, listing = tmp_path / "script.py", tmp_path / "pids"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(listing)], stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not (listing.exists() and listing.read_text()) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    pids = [int(pid) for pid in listing.read_text().split()]
    assert pids
    if interrupted:
        # A terminal sends it to the workers too, and they must not end by it while in use.
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        time.sleep(0.3)
        assert all(alive(pid) for pid in pids)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in pids)


def test_an_error_in_the_block_ends_the_pool() -> None:
    def fail() -> None:
        with worker_processes(1) as pool:
            assert pool.submit(divmod, 7, 2).result() == (3, 1)
            pool.submit(divmod, 1, 0).result()

    with pytest.raises(ZeroDivisionError):
        fail()
