"""Where the results of a prediction go, and how a stopped one is resumed.

While it works, results are lines of JSON in a file beside the output, named
`<output>.<process>.partial`. A line that begins with `{"emorec":` is no
result but says that a video is complete, of which settings, and how the video
looked. At the end the output is made of these lines and the file removed. A
run that is stopped, killed or out of space leaves the file; `--resume` finds
it by the settings and goes on after the last complete video.
"""

import dataclasses
import fcntl
import glob
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from emorec.answers import Calibration
from emorec.cli import predict_packed
from emorec.data import files, result_files
from emorec.errors import EmorecError
from emorec.labels import LabelSet
from emorec.predict_sources import name_of
from emorec.results import Result

_MARK = '{"emorec":'


@dataclasses.dataclass(frozen=True)
class Earlier:
    """What an earlier run has left.

    Attributes:
        done: Videos, the first ones, whose results are complete.
        failed: Those of them that could not be read, or not to their end.
        results: Their results, where these are kept in full.
    """

    done: int = 0
    failed: int = 0
    results: tuple[Result, ...] = ()


def settings_hash(*values) -> str:
    """Returns a name of all that decides what is written."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Printed:
    """Results as lines of JSON on standard output; cannot be resumed."""

    def __enter__(self) -> "Printed":
        return self

    def __exit__(self, *_):
        pass

    def write(self, result: Result) -> None:
        print(_line(result.to_dict()), flush=True)

    def end_video(self, failed: bool) -> None:
        """Nothing."""


class Output:
    """A file of results, which gets its name when it is complete.

    A context manager. An error inside keeps what was finished, and says
    where.

    Args:
        path: The file as the user named it.
        target: The file that it leads to.
        videos: All videos, in order.
        settings: See `settings_hash`.
        pictures: Results whose pictures are kept for a report; None keeps no
            results in full.
        crops: Whether faces and their surroundings are among the pictures.
    """

    def __init__(
        self,
        path: str,
        target: str,
        videos: Sequence[str],
        settings: str,
        pictures: int | None = None,
        crops: bool = True,
    ):
        self._path = path
        self._target = target
        self._ending = result_files.ending_of(path)
        self._videos = videos
        self._settings = settings
        self._pictures = pictures
        self._crops = crops
        self._done = 0
        self._lines = 0
        # With the process's number: two runs may have one output, and what
        # an interrupted one left is not overwritten.
        self._partial = f"{target}.{os.getpid()}.partial"
        self._file = None

    def __enter__(self) -> "Output":
        if self._file is None:
            try:
                # Unbuffered: what is written is there if we are killed.
                self._file = open(self._partial, "wb", buffering=0)
            except OSError as e:
                raise EmorecError(
                    f"{self._path}: cannot be written ({e.strerror}); choose "
                    "another --output"
                ) from e
            fcntl.flock(self._file, fcntl.LOCK_EX)
        return self

    def resume(
        self, labels: LabelSet, calibration: Calibration
    ) -> Earlier | None:
        """Goes on with what a stopped run of the same settings left.

        To be called before it is entered.

        Returns:
            What is done; None where nothing was left.
        """
        best, length = None, 0
        for path in self._stopped():
            done, end = self._complete(path)
            file = _claimed(path) if done > self._done else None
            if file is not None:
                best, file = file, best
                self._partial, self._done, length = path, done, end
            if file is not None:
                file.close()
        if best is None:
            return None
        best.truncate(length)
        best.seek(length)
        self._file = best
        return self._earlier(labels, calibration)

    def left_over(self) -> str | None:
        """Returns what a stopped run of the same settings left, if any."""
        for path in self._stopped():
            file = _claimed(path) if self._complete(path)[0] else None
            if file is not None:
                file.close()
                return path
        return None

    def _stopped(self) -> list[str]:
        return sorted(glob.glob(f"{glob.escape(self._target)}.*.partial"))

    def write(self, result: Result) -> None:
        """Adds a result.

        Raises:
            EmorecError: It cannot be written.
        """
        self._lines += 1
        self._put(self._value(result))
        if self._pictures is not None:
            if result.answer is None or result.whole or not self._pictures:
                result = result.without_pictures()
            else:
                self._pictures -= 1
                if not self._crops:
                    result = result.without_crops()
            self._put({"emorec": "result", **predict_packed.packed(result)})

    def end_video(self, failed: bool) -> None:
        """Marks that all results of the next video are there.

        Args:
            failed: Whether it could not be read, or not to its end.

        Raises:
            EmorecError: It cannot be written.
        """
        video = self._videos[self._done]
        self._put(
            {
                "emorec": "done",
                "settings": self._settings,
                "video": name_of(video),
                "looks": _looks(video),
                "failed": failed,
            }
        )
        self._done += 1

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self._finish()
        except BaseException:
            kind = True
            raise
        finally:
            self._file.close()
            if kind is not None:
                self._keep()

    def _keep(self):
        if not self._lines and not self._done:
            os.unlink(self._partial)
            return
        # Results are kept under a name that says that they are not all.
        told = f"what was finished: {self._partial}"
        if self._done:
            told += (
                f" ({self._done} of {len(self._videos)} videos; the same "
                "command with --resume goes on after them)"
            )
        print(told, file=sys.stderr)

    def _finish(self):
        with files.atomic(self._target) as temporary:
            if self._ending == result_files.JSONL:
                with open(temporary, "wb") as made:
                    made.writelines(self._results())
            else:
                write = {
                    result_files.CSV: result_files.write_csv,
                    result_files.PARQUET: result_files.write_parquet,
                }[self._ending]
                write(temporary, map(json.loads, self._results()))
        os.unlink(self._partial)

    def _results(self) -> Iterator[bytes]:
        mark = _MARK.encode()
        with open(self._partial, "rb") as file:
            yield from (line for line in file if not line.startswith(mark))

    def _value(self, result: Result) -> dict:
        if self._ending == result_files.JSONL:
            return result.to_dict()
        row = result.to_row()
        if self._ending == result_files.PARQUET:
            row[result_files.PER_FRAME] = result.to_dict().get("per_frame")
        return row

    def _put(self, value: dict):
        data = f"{_line(value)}\n".encode()
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as e:
            raise EmorecError(
                f"{self._path}: cannot be written ({e.strerror}); free some "
                "space or choose another place"
            ) from e

    def _complete(self, path: str) -> tuple[int, int]:
        """Returns the complete videos, and the bytes of their results."""
        done = end = read = 0
        with open(path, "rb") as file:
            for line in file:
                read += len(line)
                if done == len(self._videos):
                    break
                if not line.startswith(_MARK.encode()):
                    continue
                value = _parsed(line)
                if value.get("emorec") != "done":
                    continue
                video = self._videos[done]
                if (
                    value.get("settings") != self._settings
                    or value.get("video") != name_of(video)
                    or value.get("looks") != _looks(video)
                ):
                    break
                done, end = done + 1, read
        return done, end

    def _earlier(self, labels, calibration) -> Earlier:
        failed, results = 0, []
        with open(self._partial, "rb") as file:
            for line in file:
                if not line.startswith(_MARK.encode()):
                    self._lines += 1
                    continue
                value = _parsed(line)
                failed += bool(value.get("failed"))
                if value.get("emorec") == "result":
                    results.append(
                        predict_packed.unpacked(value, labels, calibration)
                    )
        if self._pictures is not None:
            shown = sum(_has_pictures(r) for r in results if r.clip)
            self._pictures = max(0, self._pictures - shown)
        return Earlier(self._done, failed, tuple(results))


def _has_pictures(result: Result) -> bool:
    attention = result.answer is not None and result.answer.attention
    return any(result.clip.face) or isinstance(attention, np.ndarray)


def _line(value: dict) -> str:
    # A file name that is not UTF-8 holds surrogates; written so, they are
    # JSON's own escapes.
    text = json.dumps(value, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode()


def _parsed(line: bytes) -> dict:
    try:
        return json.loads(line)
    except ValueError:
        return {}


def _claimed(path: str):
    """Opens what a run has left; None while it is alive."""
    try:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.fdopen(os.open(path, flags), "r+b", buffering=0)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _looks(video: str) -> list[int] | None:
    """Tells a local file from another of its name; None of all others."""
    try:
        found = os.stat(video)
    except (OSError, ValueError):
        return None
    return [found.st_size, found.st_mtime_ns]
