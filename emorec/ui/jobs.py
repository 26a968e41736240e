"""Work in a thread, watched and stopped from outside.

The page asks a job several times a second how far it is.
"""

import dataclasses
import pathlib
import threading
import time
import traceback
from collections.abc import Callable

from emorec.errors import EmorecError

_OUR_FAULT = (
    "Something went wrong that is not the video's fault. The terminal that "
    "runs this page says more."
)


class Stopped(Exception):
    """The visitor stopped the job, or left."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        error: Why there is nothing to show, in one line; else None.
        view: What the page draws; see `emorec.ui.view`.
        csv: The table of answers.
        frames_csv: The table of frames.
        report: The HTML report.
        video: The annotated video; None where nobody was found.
    """

    error: str | None = None
    view: dict | None = None
    csv: pathlib.Path | None = None
    frames_csv: pathlib.Path | None = None
    report: pathlib.Path | None = None
    video: pathlib.Path | None = None


class Job:
    """Some work in a thread.

    Args:
        work: Does it; is given the job, whose `tell` it calls often.

    Attributes:
        stage: What is being done, in words.
        share: How much is done, 0 to 1.
        outcome: An `Outcome` once it is done; None where it was stopped.
    """

    def __init__(self, work: Callable[["Job"], Outcome]):
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._began = time.monotonic()
        self.stage, self.share = "Starting", 0.0
        self.outcome: Outcome | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Lets the work end at its next step; waits for nothing."""
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """Returns whether it is over, after at most so many seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def tell(self, stage: str, share: float) -> None:
        """Says how far it is.

        Raises:
            Stopped: It was stopped.
        """
        if self._stop.is_set():
            raise Stopped
        self.stage, self.share = stage, min(max(share, 0.0), 1.0)

    @property
    def left(self) -> float | None:
        """Seconds that are left, by those it took; None at the beginning."""
        took = time.monotonic() - self._began
        if took < 2 or self.share < 0.05:
            return None
        return took * (1 - self.share) / self.share

    def _run(self):
        try:
            self.outcome = self._work(self)
        except Stopped:
            self.outcome = None
        except EmorecError as e:
            self.outcome = Outcome(error=str(e))
        except Exception:
            # A thread's error would be lost, and the page wait for ever.
            traceback.print_exc()
            self.outcome = Outcome(error=_OUR_FAULT)
