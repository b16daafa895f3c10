"""A pool of processes that ends when the process that made it does."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Processes for work that holds the interpreter lock.

    A worker of the standard pool waits for its next task for ever if the main process is killed
    (SIGKILL, out of memory): all workers hold the pipe of tasks open for one another. These watch
    the main process and end with it. Ctrl-C, which a terminal sends to all of them, they leave to
    the main process: each would print a traceback of its own.
    """
    # "spawn": forking a process that has threads can hang
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent)


def _follow_parent() -> None:
    """In a worker: wait beside the work for the main process's end, then end too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)  # nobody is left to hear of an orderly end

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
