"""The queues in which requests wait to become batches, and their threads.

The rules are those of TensorFlow Serving's scheduler. A queue is a row of
batches; a request enters the last one, or opens another where it does not
fit. The first batch of a row runs as soon as a thread is free and it is full,
or others wait behind it, or it has been open for the timeout. All queues
share the threads, in turn.
"""

import collections
import contextlib
import contextvars
import dataclasses
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import grpc

from serving.server.batching_limits import Limits
from serving.server.status import StatusError, from_exception

_is_gone: contextvars.ContextVar[Callable[[], bool] | None] = (
    contextvars.ContextVar("is_gone", default=None)
)


@contextlib.contextmanager
def caller(is_gone: Callable[[], bool]) -> Iterator[None]:
    """Says how to learn that nobody waits for the answers of this thread.

    Args:
        is_gone: Called from a batch thread, just before a batch runs. What
            the caller who has gone had sent is left out of it.
    """
    token = _is_gone.set(is_gone)
    try:
        yield
    finally:
        _is_gone.reset(token)


@dataclasses.dataclass(eq=False)
class Task:
    """One request in a queue.

    Attributes:
        inputs: What its caller sent, for `Lane.process`.
        size: Its rows.
        is_gone: Whether its caller has gone; None for one who stays.
        result: What the caller gets, unless `error` is set.
        error: What the caller is told.
    """

    inputs: Any
    size: int
    is_gone: Callable[[], bool] | None = None
    result: Any = None
    error: Exception | None = None
    done: threading.Event = dataclasses.field(default_factory=threading.Event)


class _Batch:
    def __init__(self, opened: float):
        self.opened = opened
        self.tasks: list[Task] = []
        self.size = 0


class Scheduler:
    """The threads that run the batches of all models of a server.

    They start with the first lane and end with the last one.
    """

    def __init__(self, threads: int):
        """Starts nothing yet.

        Args:
            threads: Batches that may run at a time, at least 1.
        """
        self._count = threads
        self._threads: list[threading.Thread] = []
        self._lanes = 0
        # Held while threads start or end, so that the two never overlap.
        self._life = threading.Lock()
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._queues: dict[tuple, collections.deque[_Batch]] = {}
        self._ending = False

    def lane(
        self,
        limits: Limits,
        process: Callable[[Hashable, Sequence[Task]], None],
    ) -> "Lane":
        """Returns a new set of queues; its `close` has to be called.

        Args:
            limits: Of each of its queues.
            process: Runs a batch, the tasks of one queue; sets each task's
                `result` or `error`. What it raises is told to all of them.
        """
        with self._life:
            self._lanes += 1
            if self._lanes == 1:
                self._ending = False
                self._threads = [
                    threading.Thread(
                        target=self._work, name=f"batch-{i}", daemon=True
                    )
                    for i in range(self._count)
                ]
                for thread in self._threads:
                    thread.start()
        return Lane(self, limits, process)

    def submit(self, lane: "Lane", key: Hashable, task: Task) -> None:
        """Puts a task into the queue `key` of a lane.

        Raises:
            StatusError: RESOURCE_EXHAUSTED, the queue is full; UNAVAILABLE,
                the lane is closed.
        """
        limits = lane.limits
        with self._lock:
            if lane.closing:
                raise StatusError(
                    grpc.StatusCode.UNAVAILABLE, "the model is being unloaded"
                )
            queue = self._queues.get((lane, key))
            fits = queue and (
                queue[-1].size + task.size <= limits.max_batch_size
            )
            if not fits:
                if queue and len(queue) >= limits.max_enqueued_batches:
                    raise StatusError(
                        grpc.StatusCode.RESOURCE_EXHAUSTED,
                        "The batch scheduling queue to which this task was "
                        "submitted is full",
                    )
                if not queue:
                    queue = self._queues[lane, key] = collections.deque()
                queue.append(_Batch(time.monotonic()))
            batch = queue[-1]
            batch.tasks.append(task)
            batch.size += task.size
            lane.pending += 1
            # Else a thread knows of it already, and when it is due.
            if not fits or batch.size >= limits.max_batch_size:
                self._ready.notify()

    def close(self, lane: "Lane") -> None:
        """Runs what waits in a lane, and ends the threads with the last."""
        with self._lock:
            lane.closing = True
            self._ready.notify_all()
            while lane.pending:
                self._idle.wait()
        with self._life:
            self._lanes -= 1
            if self._lanes:
                return
            with self._lock:
                self._ending = True
                self._ready.notify_all()
            for thread in self._threads:
                thread.join()
            self._threads = []

    def _work(self) -> None:
        while (found := self._take()) is not None:
            lane, key, batch = found
            try:
                _run(lane, key, batch.tasks)
            finally:
                with self._lock:
                    lane.pending -= len(batch.tasks)
                    self._idle.notify_all()

    def _take(self) -> tuple["Lane", Hashable, _Batch] | None:
        """Waits for a batch that is due; None once the threads are to end."""
        with self._lock:
            while not self._ending:
                now = time.monotonic()
                soonest = None
                for place, queue in self._queues.items():
                    due = _due(place[0], queue)
                    if due <= now:
                        return *place, self._pop(place)
                    soonest = due if soonest is None else min(soonest, due)
                self._ready.wait(None if soonest is None else soonest - now)
        return None

    def _pop(self, place: tuple) -> _Batch:
        # The rest of the queue goes behind the other queues.
        queue = self._queues.pop(place)
        batch = queue.popleft()
        if queue:
            self._queues[place] = queue
        if self._queues:
            # This thread will be busy: another one has to watch them.
            self._ready.notify()
        return batch


class Lane:
    """The queues of one model, by key.

    Attributes:
        limits: Of each queue.
        process: Runs a batch.
        pending: Tasks that wait or run; the scheduler's.
        closing: Whether no more tasks come; the scheduler's.
    """

    def __init__(self, scheduler: Scheduler, limits: Limits, process: Callable):
        self.limits = limits
        self.process = process
        self.pending = 0
        self.closing = False
        self._scheduler = scheduler

    def run(self, key: Hashable, inputs: Any, size: int) -> Any:
        """Waits until a batch has run that holds these inputs.

        Args:
            key: The queue.
            inputs: Given to `process`.
            size: Rows, 1 to `limits.max_batch_size`.

        Returns:
            The task's `result`.

        Raises:
            StatusError: The queue is full, or the batch failed.
        """
        task = Task(inputs, size, _is_gone.get())
        self._scheduler.submit(self, key, task)
        task.done.wait()
        if task.error is not None:
            # Each caller an exception of its own: several may share this one.
            error = from_exception(task.error)
            raise StatusError(error.code, error.message) from task.error
        return task.result

    def close(self) -> None:
        """Runs what waits; later tasks are UNAVAILABLE."""
        self._scheduler.close(self)


def _due(lane: Lane, queue: collections.deque[_Batch]) -> float:
    is_full = len(queue) > 1 or queue[0].size >= lane.limits.max_batch_size
    if is_full or lane.closing:
        return 0.0
    return queue[0].opened + lane.limits.timeout_s


def _run(lane: Lane, key: Hashable, tasks: Sequence[Task]) -> None:
    """Runs a batch without those whose callers have gone; never raises."""
    try:
        left = [t for t in tasks if t.is_gone is None or not t.is_gone()]
        for task in tasks:
            task.error = StatusError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "Run() timeout exceeded while waiting in batching queue",
            )
        for task in left:
            task.error = None
        if left:
            lane.process(key, left)
    except Exception as e:
        for task in tasks:
            task.error = task.error or e
    finally:
        for task in tasks:
            task.done.set()
