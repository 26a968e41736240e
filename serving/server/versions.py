"""The versions of one model: finds, loads, switches and unloads them.

Synopsis of the rules, those of TensorFlow Serving: the base path is looked at
every `poll_s`; folders named by an integer are versions; the highest one is
served; it loads before the one before it goes; one that does not load goes to
END with its error while the one before it keeps serving.
"""

import contextlib
import dataclasses
import enum
import logging
import posixpath
import threading
import time
from collections.abc import Iterator

import tensorflow as tf

from emorec.errors import ModelError, ServerError
from serving.server import status
from serving.server.saved_model import LoadedModel

_log = logging.getLogger(__name__)
_MAX_VERSION = 2**63 - 1


class State(enum.IntEnum):
    """ModelVersionStatus.State of get_model_status.proto."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass
class _Version:
    number: int
    path: str
    state: State = State.START
    error: status.StatusError | None = None
    model: LoadedModel | None = None
    users: int = 0
    stamp: tuple = ()


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """What GetModelStatus tells of one version."""

    version: int
    state: State
    error: status.StatusError | None


def find_versions(base_path: str) -> dict[int, str]:
    """Returns the version folders below `base_path` by number.

    Raises:
        tf.errors.OpError: `base_path` cannot be listed.
    """
    found = {}
    for name in tf.io.gfile.listdir(base_path):
        name = name.rstrip("/")  # Object stores end folders so.
        if not (name.isascii() and name.isdigit()) or int(name) > _MAX_VERSION:
            continue
        path = posixpath.join(base_path, name)
        if tf.io.gfile.isdir(path):
            found[int(name)] = path
    return found


class VersionManager:
    """Keeps the newest version of one model in service."""

    def __init__(self, name: str, base_path: str, poll_s: float = 1.0):
        """Does nothing yet; see `start`.

        Args:
            name: The model's name, for messages.
            base_path: The folder that holds the version folders.
            poll_s: Seconds between two looks at `base_path`, more than 0.
        """
        self.name = name
        self._base_path = str(base_path)
        self._poll_s = poll_s
        self._lock = threading.Lock()
        self._versions: dict[int, _Version] = {}
        self._current: _Version | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._complaint = ""

    def start(self, timeout_s: float | None = None) -> None:
        """Waits until a version serves, then watches for others.

        A base path that is missing or empty is waited for, with a warning at
        each look.

        Args:
            timeout_s: Longest wait in seconds; None waits for ever.

        Raises:
            ModelError: The newest version does not load.
            ServerError: `timeout_s` has passed, or `stop` was called.
        """
        if _is_saved_model(self._base_path):
            raise ModelError(
                f"{self._base_path} is itself a SavedModel: give the folder "
                "above it, whose subfolders are version numbers"
            )
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        while self._current is None and not self._stopping.is_set():
            self.poll()
            self._check_start(timeout_s, ends)
            if self._current is None:
                self._stopping.wait(self._poll_s)
        if self._stopping.is_set():
            self.stop()  # What was loaded meanwhile.
            raise ServerError(f"stopped before model {self.name!r} was loaded")
        self._thread = threading.Thread(
            target=self._watch, name=f"versions-{self.name}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stops watching and unloads; a version in use goes after its use."""
        self._stopping.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        with self._lock:
            current, self._current = self._current, None
        if current:
            self._unload(current)

    @contextlib.contextmanager
    def use(
        self, version: int | None = None
    ) -> Iterator[tuple[int, LoadedModel]]:
        """Gives a version's number and model, held loaded meanwhile.

        Args:
            version: The version; None is the one in service.

        Raises:
            StatusError: NOT_FOUND, it is not loaded.
        """
        with self._lock:
            if version is None:
                found = self._current
                wanted = f"Latest({self.name})"
            else:
                found = self._versions.get(version)
                wanted = f"Specific({self.name}, {version})"
            if found is None or found.state != State.AVAILABLE:
                raise status.not_found(
                    f"Servable not found for request: {wanted}"
                )
            found.users += 1
        try:
            yield found.number, found.model
        finally:
            with self._lock:
                found.users -= 1
            self._close_if_idle(found)

    def statuses(self) -> list[VersionStatus]:
        """Returns every version seen so far, the newest first."""
        with self._lock:
            return [
                VersionStatus(v.number, v.state, v.error)
                for _, v in sorted(self._versions.items(), reverse=True)
            ]

    def poll(self) -> None:
        """Looks at the base path once and loads what is new there."""
        try:
            found = find_versions(self._base_path)
        except tf.errors.OpError as e:
            self._complain(
                f"cannot read base path {self._base_path} of model "
                f"{self.name!r}: {status.one_line(e.message)}"
            )
            return
        if not found:
            # The real server would unload; we keep what serves, since an
            # empty listing is more often a copy under way than a wish.
            self._complain(
                f"no version of model {self.name!r} in {self._base_path}: "
                "it holds no folder named by an integer"
            )
            return
        self._complaint = ""
        number = max(found)
        if self._current is None or self._current.number != number:
            self._load(number, found[number])

    def _check_start(self, timeout_s, ends) -> None:
        failed = [v for v in self.statuses() if v.error]
        if failed:
            raise ModelError(
                f"version {failed[0].version} of model {self.name!r} in "
                f"{self._base_path} does not load: "
                f"{status.one_line(failed[0].error.message)}"
            )
        late = ends is not None and time.monotonic() >= ends
        if late and self._current is None:
            raise ServerError(f"after {timeout_s:g} s: {self._complaint}")

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_s):
            try:
                self.poll()
            except Exception:
                # The watcher outlives a fault; requests are not concerned.
                _log.exception("model %r: looking for versions", self.name)

    def _load(self, number: int, path: str) -> None:
        stamp = _stamp(path)
        old = self._versions.get(number)
        if old and old.error and old.stamp == stamp:
            return  # It failed, and nobody has changed it since.
        new = _Version(number, path, State.LOADING, stamp=stamp)
        with self._lock:
            self._versions[number] = new
        started = time.monotonic()
        try:
            model = LoadedModel(path)
        except Exception as e:
            with self._lock:
                new.state = State.END
                new.error = status.from_exception(e)
            text = status.one_line(new.error.message)
            _log.error("model %r version %d: %s", self.name, number, text)
            return
        with self._lock:
            new.model = model
            new.state = State.AVAILABLE
            before, self._current = self._current, new
        took = time.monotonic() - started
        _log.info("model %r version %d: %.1f s", self.name, number, took)
        if before:
            self._unload(before)

    def _unload(self, version: _Version) -> None:
        with self._lock:
            version.state = State.UNLOADING
        self._close_if_idle(version)

    def _close_if_idle(self, version: _Version) -> None:
        with self._lock:
            if version.state != State.UNLOADING or version.users:
                return
            version.state = State.END
            model, version.model = version.model, None
        model.close()
        _log.info("model %r version %d: unloaded", self.name, version.number)

    def _complain(self, text: str) -> None:
        # At each look until something serves, after that once.
        if self._current is None or text != self._complaint:
            _log.warning("%s", text)
        self._complaint = text


def _is_saved_model(path: str) -> bool:
    try:
        return "saved_model.pb" in tf.io.gfile.listdir(path)
    except tf.errors.OpError:
        return False  # Not there yet: `poll` tells.


def _stamp(path: str) -> tuple:
    """Returns what changes when a copy into `path` goes on."""
    found = []
    for pattern in ("*", "variables/*"):
        for name in sorted(tf.io.gfile.glob(posixpath.join(path, pattern))):
            stat = tf.io.gfile.stat(name)
            found.append((name, stat.length, stat.mtime_nsec))
    return tuple(found)
