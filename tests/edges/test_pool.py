"""Workers that end with the main process, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from litesam_bench.edges import benchmark
from litesam_bench.edges.benchmark import Settings, evaluate
from litesam_bench.edges.boundary_gt import boundary_folder
from litesam_bench.edges.pool import worker_pool
from litesam_bench.errors import BenchError

# Starts two workers, tells who they are, and is busy until it is killed.
_MAIN = """
import os, time
from litesam_bench.edges.boundary_gt import boundary_folder
from litesam_bench.edges.pool import worker_pool

if __name__ == "__main__":
    with worker_pool(2) as pool:
        waits = [pool.submit(time.sleep, 1) for _ in range(2)]
        [w.result() for w in waits]
        print(*pool._processes, flush=True)
        pool.submit(time.sleep, 600)  # one works on, the other waits for a task
        time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_workers_end_when_the_main_process_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(_MAIN)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        workers = [int(word) for word in main.stdout.readline().split()]
        assert len(workers) == 2 and all(map(_runs, workers))
        main.send_signal(signal.SIGKILL)
        assert main.wait(10) == -signal.SIGKILL
    deadline = time.monotonic() + 60  # a busy machine
    while any(map(_runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [worker for worker in workers if _runs(worker)]
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    assert not left


# Is stopped as by Ctrl-C in a terminal, which goes to the workers too.
_STOPPED = """
import time
from litesam_bench.edges.pool import worker_pool

if __name__ == "__main__":
    with worker_pool(2) as pool:
        [wait.result() for wait in [pool.submit(time.sleep, 0.5) for _ in range(2)]]
        work = [pool.submit(time.sleep, 1) for _ in range(2)]
        try:
            print("ready", flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            print("stopped", all(w.result() is None for w in work), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts a process group")
def test_ctrl_c_is_the_main_process_s(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    # a parent that ignores the signal (a shell's background job) hands that on
    script.write_text("import signal\nsignal.signal(2, signal.default_int_handler)\n" + _STOPPED)
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as main:
        assert main.stdout is not None
        assert main.stdout.readline() == "ready\n"
        os.killpg(main.pid, signal.SIGINT)
        out, err = main.communicate(timeout=60)
    assert out == "stopped True\n"
    assert "Traceback" not in err


def _runs(pid: int) -> bool:
    """Whether a process exists and is not just waiting to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_pool_works_and_ends_by_itself() -> None:
    with worker_pool(2) as pool:
        assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]


def _die(*task: object) -> None:
    os._exit(9)


def test_a_worker_that_is_killed_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truths, maps = tmp_path / "truths", tmp_path / "maps"
    for folder in (truths, maps):
        folder.mkdir()
    for name in ("a", "b"):  # one image would not be given to a worker
        (truths / f"{name}.mat").touch()
        np.save(maps / f"{name}.npy", np.zeros((4, 4)))
    monkeypatch.setattr(benchmark, "count_file", _die)
    with pytest.raises(BenchError, match="a worker process was ended from outside"):
        evaluate(boundary_folder(truths), maps, Settings(), tmp_path / "runs", workers=2)
