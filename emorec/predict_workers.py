"""Predictions for many videos in several processes.

Each worker has a backend and a detector of its own, and takes one video after
the other. Results wait in files until it is their turn, so that neither the
number of videos nor their length needs memory.
"""

import concurrent.futures
import dataclasses
import functools
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence

from emorec import predict
from emorec.data import processes
from emorec.errors import EmorecError
from emorec.predict_cuts import Cutting
from emorec.predict_sources import Sources

# Videos that are given out to each worker, the one that it works on included:
# it need not wait for the next.
_AHEAD = 2

Make = Callable[[], tuple[predict.Backend, object]]
_job: "Job"  # In a worker: its own.


@dataclasses.dataclass(frozen=True)
class Job:
    """What every worker needs to know; is pickled.

    Attributes:
        make: Gives a backend and a detector; is called once in each worker.
        workers: Processes.
        cutting: See `predict.predict_videos`: the same choices.
        threshold: See `predict.predict_videos`.
        sources: The same; without a `stop`.
        pictures: Clips of each video that keep their crops and attention;
            the others come without, which are most of their bytes.
    """

    make: Make
    workers: int
    cutting: Cutting = dataclasses.field(default_factory=Cutting)
    threshold: float | None = None
    sources: Sources = dataclasses.field(default_factory=Sources)
    pictures: int = 0


class Workers:
    """The processes of one prediction.

    A context manager: leaving it before the results' end kills them.

    Raises:
        EmorecError: A worker was killed.
    """

    def __init__(self, job: Job):
        self._job = job
        self._made = processes.Processes()
        self._pool = concurrent.futures.ProcessPoolExecutor(
            job.workers,
            mp_context=self._made,
            initializer=_begin,
            initargs=(job,),
        )
        self._folder = tempfile.TemporaryDirectory(prefix="emorec-")

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_):
        # What is still to do is of no use to anybody: all results have been
        # taken, or there was an error or a Ctrl-C.
        self._made.kill()
        self._pool.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def description(self) -> dict:
        """Returns the description of the model that answers."""
        # Asked of each: a pool starts a worker as something is submitted, and
        # the others would wait for the first one's imports before their own.
        asked = [self._pool.submit(_describe) for _ in range(self._job.workers)]
        return self._result(asked[0])

    def predict(
        self,
        paths: Sequence[str],
        progress: Callable[[int], None] = lambda done: None,
        ended: Callable[[int], None] = lambda told: None,
    ) -> Iterator[predict.Result]:
        """Yields the results as `predict.predict_videos` does.

        Args:
            paths: The videos.
            progress: Called with the number of videos that are done, in
                whatever order.
            ended: Called with the number of videos whose results have all
                been taken.
        """
        running, finished = {}, set()
        given = told = 0
        while told < len(paths):
            while given < len(paths) and len(running) < (
                self._job.workers * _AHEAD
            ):
                future = self._pool.submit(
                    _predict, paths[given], self._file(given)
                )
                running[future] = given
                given += 1
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                self._result(future)
                finished.add(running.pop(future))
                progress(told + len(finished))
            while told in finished:
                yield from _read(self._file(told))
                os.unlink(self._file(told))
                finished.remove(told)
                told += 1
                ended(told)

    def _file(self, number: int) -> str:
        return os.path.join(self._folder.name, str(number))

    def _result(self, future):
        try:
            return future.result()
        except concurrent.futures.process.BrokenProcessPool as e:
            raise EmorecError(
                "a worker process was killed, perhaps for want of memory; "
                "run the command again with fewer --workers"
            ) from e


def _read(file: str) -> Iterator[predict.Result]:
    with open(file, "rb") as f:
        while True:
            try:
                yield pickle.load(f)
            except EOFError:
                return


def _begin(job: Job) -> None:
    global _job
    _job = job
    processes.begin_video_worker(job.workers)


@functools.lru_cache(maxsize=1)
def _made():
    # In the first task and not as a worker begins: an error comes back as
    # it is only from a task.
    return _job.make()


def _describe() -> dict:
    backend, _ = _made()
    return backend.description


def _predict(path: str, file: str) -> None:
    """Writes the results of one video to a file."""
    backend, detector = _made()
    left, cutting = _job.pictures, _job.cutting
    with open(file, "wb") as f:
        for result in predict.predict_videos(
            [path],
            backend,
            detector,
            people=cutting.people,
            fps=cutting.fps,
            every=cutting.every,
            threshold=_job.threshold,
            sources=_job.sources,
        ):
            if result.answer is not None and not result.whole and left:
                left -= 1
            else:
                result = result.without_pictures()
            pickle.dump(result, f)
