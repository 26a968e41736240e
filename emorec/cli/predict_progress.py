"""How far a prediction is: a bar on a terminal, plain lines elsewhere."""

import sys
import time

from emorec.video.container import shown

# Between two plain lines: a log of a night has a thousand.
_LINES_S = 30.0
_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}"


class Progress:
    """Tells on standard error how many of the videos are done.

    Nothing is told with `quiet`. A context manager: it takes its bar away.

    Args:
        total: Videos.
        quiet: Whether nothing is to be told.
        done: Those that were done before.
    """

    def __init__(self, total: int, quiet: bool, done: int = 0):
        self._total = total
        self._before = self._done = done
        self._began = self._told = time.monotonic()
        self._bar = None
        self._quiet = quiet
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                desc="predict",
                total=total,
                initial=done,
                bar_format=_BAR,
                dynamic_ncols=True,
                leave=False,
            )
            self._show()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def update(self, done: float) -> None:
        """Tells of `done` videos, of which one may be done in part."""
        # Workers finish in any order, and parts of theirs are not known.
        self._done = max(done, self._done)
        if self._bar is not None:
            self._show()
        elif self._is_time():
            self.line(f"emorec predict: {self.text()}", sys.stderr)

    def drawing(self, video: str, share: float) -> None:
        """Tells how much of an annotated video is written."""
        said = f"drawing {shown(video)}, {share:.0%}"
        if self._bar is not None:
            self._bar.set_postfix_str(said)
        elif self._is_time():
            self.line(f"emorec predict: {said}", sys.stderr)

    def line(self, text: str, file) -> None:
        """Prints a line without breaking the bar."""
        if self._bar is None:
            print(text, file=file, flush=True)
            return
        self._bar.clear()
        print(text, file=file, flush=True)
        self._bar.refresh()

    def text(self) -> str:
        """Returns the state in words, with the time that is left."""
        share = self._done / self._total
        said = f"{int(self._done)} of {self._total} videos done, {share:.0%}"
        new = self._done - self._before
        if not new or self._done >= self._total:
            return said
        spent = time.monotonic() - self._began
        left = spent * (self._total - self._done) / new
        return f"{said}, about {_length(left)} left"

    def _is_time(self) -> bool:
        """Whether a plain line is due."""
        now = time.monotonic()
        if self._quiet or now - self._told < _LINES_S:
            return False
        self._told = now
        return True

    def _show(self):
        done = int(self._done)
        self._bar.set_postfix_str(
            f"{done} of {self._total} videos", refresh=False
        )
        self._bar.update(self._done - self._bar.n)


def _length(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
