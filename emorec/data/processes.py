"""Worker processes: spawned, and ended when their parent says or ends."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import context

# Fewer videos than this do not pay for a worker's start: it imports
# TensorFlow and loads networks for about as long as ten short clips take.
WORKER_VIDEOS = 16
# Of memory for each worker that nobody asked for: it takes half of it with a
# clip of 640x360, most of it with a crowd in 1080p.
_WORKER_BYTES = 3 << 29
_MEMORY = "/proc/meminfo"
# Operations that training runs side by side: the halves of a batch
# (`emorec.training.steps`), and two batches of frames in the encoders.
AT_ONCE = 2
_THREADS = "TF_NUM_INTRAOP_THREADS"


class _Worker(context.SpawnProcess):
    """A process that Ctrl-C does not reach, from its first moment on.

    The terminal sends SIGINT to the whole process group. Whether and how the
    workers end is for their parent to say. They inherit the mask; a handler
    of their own would come seconds too late, after their imports. And unlike
    with SIG_IGN a SIGINT to the parent waits meanwhile and is not lost.
    """

    def start(self):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Processes(context.SpawnContext):
    """Makes the processes of one pool, and keeps them at hand.

    Spawned, not forked: TensorFlow's threads do not survive a fork.
    """

    def __init__(self):
        self._workers = []

    def Process(self, *args, **kwargs):
        worker = _Worker(*args, **kwargs)
        self._workers.append(worker)
        return worker

    def kill(self) -> None:
        """Ends the processes that still run."""
        for worker in self._workers:
            if worker.is_alive():
                worker.kill()


def cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Not on macOS.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share(workers: int) -> int:
    """Returns the threads for each of some workers that share the cores."""
    return max(1, cores() // workers)


def default_workers(videos: int) -> int:
    """Returns how many workers to start for some videos.

    One for each core, as far as each gets `WORKER_VIDEOS` and the memory that
    is free now is enough.
    """
    return max(1, min(cores(), videos // WORKER_VIDEOS, _fits_memory()))


def _fits_memory() -> int:
    try:
        with open(_MEMORY, encoding="ascii") as f:
            values = dict(line.split(":") for line in f)
    except OSError:  # Not Linux: nothing is known.
        return cores()
    free = int(values["MemAvailable"].split()[0]) << 10
    return free // _WORKER_BYTES


def begin_worker(workers: int) -> None:
    """Begins a worker: its share of threads, its end with its parent's.

    TensorFlow may be imported already, but must not have run anything.

    Args:
        workers: Processes that share the machine.
    """
    end_with_parent()
    for name in (_THREADS, "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(share(workers))
    # It would warn, on the user's terminal, that a graph is traced again.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def begin_video_worker(
    workers: int, load: Callable[[], None] = lambda: None
) -> None:
    """Begins a worker that reads videos; see `begin_worker`.

    Args:
        workers: Processes that share the machine.
        load: Imports what the work needs; of a module that imports less.
    """
    begin_worker(workers)
    load()
    import cv2

    # One thread is none of OpenCV's own, and 0 would be the same.
    cv2.setNumThreads(share(workers))


def begin_training() -> None:
    """Gives an operation its share of the cores, as `AT_ONCE` run.

    What the user has set stays. To be called before TensorFlow runs anything;
    later it changes nothing.
    """
    os.environ.setdefault(_THREADS, str(share(AT_ONCE)))


def begin_training_worker(workers: int) -> None:
    """Begins a worker that trains; see `begin_worker`.

    Args:
        workers: Processes that share the machine.
    """
    begin_worker(workers)
    os.environ[_THREADS] = str(share(workers * AT_ONCE))


def end_with_parent() -> None:
    """Ends this process with its parent.

    Else it waits for work for ever after its parent is killed.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)
