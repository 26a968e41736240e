"""Worker processes: spawned, and ended when their parent says or ends."""

import multiprocessing
import os
import signal
import threading
from multiprocessing import context


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


def begin_worker(workers: int) -> None:
    """Begins a worker: its share of threads, its end with its parent's.

    Args:
        workers: Processes that share the machine.
    """
    # Else it waits for work for ever after its parent is killed.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import tensorflow as tf

    threads = max(1, (os.cpu_count() or 1) // workers)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)
