"""The versions of one model: finds, loads, switches and unloads them.

Synopsis of the rules, those of TensorFlow Serving: the base path is looked at
every `poll_s`; folders named by an integer are versions; the policy says
which of them are wanted, by default the highest one. Wanted versions load one
after the other, the newest first; one that is not wanted any more goes once a
wanted one serves; one that does not load goes to END with its error while
those before it keep serving.
"""

import contextlib
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator

import tensorflow as tf

from serving.server import starting, status, version_folders
from serving.server.saved_model import LoadedModel
from serving.server.version_folders import Policy, find_versions
from serving.server.version_state import State, Version, VersionStatus

_log = logging.getLogger(__name__)


class VersionManager:
    """Keeps the wanted versions of one model in service.

    Attributes:
        name: The model's name.
        poll_s: Seconds between two looks; 0 looks once, less than 0 never.
    """

    def __init__(
        self,
        name: str,
        base_path: str,
        policy: Policy | None = None,
        loader: Callable[[str], LoadedModel] = LoadedModel,
        poll_s: float = 1.0,
    ):
        """Does nothing yet; see `start`.

        Args:
            name: The model's name, for messages.
            base_path: The folder that holds the version folders.
            policy: Which versions are served; None is the newest one.
            loader: Makes a model of a version's folder.
            poll_s: Seconds between two looks at `base_path`; 0 looks once,
                less than 0 never.
        """
        self.name = name
        self._source = (str(base_path), policy or Policy())
        self._loader = loader
        self.poll_s = poll_s
        # Held while `base_path` is looked at and versions load; `_lock` only
        # for moments.
        self._poll_lock = threading.Lock()
        self._lock = threading.Lock()
        self._versions: dict[int, Version] = {}
        self._serving: dict[int, Version] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._complaint = ""

    @property
    def base_path(self) -> str:
        """The folder that is looked at."""
        return self._source[0]

    @property
    def is_serving(self) -> bool:
        """Whether a version is in service."""
        return self._current is not None

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` or `retire` was called."""
        return self._stopping.is_set()

    @property
    def _current(self) -> Version | None:
        with self._lock:
            return self._newest()

    def has(self, version: int) -> bool:
        """Whether a version is in service."""
        with self._lock:
            return version in self._serving

    def _newest(self) -> Version | None:
        return self._serving[max(self._serving)] if self._serving else None

    def start(self, timeout_s: float | None = None) -> None:
        """Waits until a version serves; see `starting.start_all`."""
        starting.start_all([self], timeout_s)

    def watch(self) -> None:
        """Looks for versions from now on, in a thread of its own."""
        if self.poll_s > 0 and not self.is_stopping:
            self._thread = threading.Thread(
                target=self._watch, name=f"versions-{self.name}", daemon=True
            )
            self._thread.start()

    def configure(self, base_path: str, policy: Policy) -> bool:
        """Changes where the versions are and which are wanted.

        What serves goes on until the next `poll` has found others.

        Returns:
            Whether this is a change.
        """
        before, self._source = self._source, (base_path, policy)
        return before != self._source

    def wait_stopping(self, timeout_s: float) -> bool:
        """Waits for `stop` or `retire`; returns whether it came."""
        return self._stopping.wait(timeout_s)

    def retire(self) -> None:
        """Unloads; a version in use goes after its use, nothing loads."""
        self._stopping.set()
        with self._lock:
            serving = list(self._serving.values())
            self._serving.clear()
        for version in serving:
            self._unload(version)

    def stop(self) -> None:
        """Unloads, and waits for what is loading just now."""
        self.retire()
        if self._thread:
            self._thread.join()
            self._thread = None

    @contextlib.contextmanager
    def use(
        self, version: int | None = None
    ) -> Iterator[tuple[int, LoadedModel]]:
        """Gives a version's number and model, held loaded meanwhile.

        Args:
            version: The version; None is the newest one in service.

        Raises:
            StatusError: NOT_FOUND, it is not loaded.
        """
        with self._lock:
            if version is None:
                found = self._newest()
            else:
                found = self._serving.get(version)
            if found is None:
                raise not_served(self.name, version)
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
        if self.poll_s < 0:
            self._complain(f"model {self.name!r}: not looked for")
            return
        with self._poll_lock:
            wanted = self._look()
            for number, path in wanted.items():
                if self.is_stopping:
                    return
                serving = self._serving.get(number)
                if serving is None or serving.path != path:
                    self._load(number, path)
                self._drop_others(wanted)

    def failure(self) -> str:
        """Returns why the newest version does not serve, "" if it may yet.

        The real server too waits for the newest one alone, at its start and
        in a reload, though it may be told to serve older ones.
        """
        for found in self.statuses()[:1]:
            if found.error:
                return (
                    f"version {found.version} of model {self.name!r} in "
                    f"{self.base_path} does not load: "
                    f"{status.one_line(found.error.message)}"
                )
        if self.is_serving:
            return ""
        if version_folders.is_saved_model(self.base_path):
            return (
                f"{self.base_path} is itself a SavedModel: give the folder "
                "above it, whose subfolders are version numbers"
            )
        return ""

    @property
    def complaint(self) -> str:
        """What the last look missed, "" if nothing."""
        return self._complaint

    def _look(self) -> dict[int, str]:
        base_path, policy = self._source
        try:
            found = find_versions(base_path)
        except tf.errors.OpError as e:
            self._complain(
                f"cannot read base path {base_path} of model "
                f"{self.name!r}: {status.one_line(e.message)}"
            )
            return {}
        wanted = version_folders.wanted(policy, found)
        missing = version_folders.missing(policy, found)
        if missing:
            self._complain(
                f"no version {', '.join(map(str, missing))} of model "
                f"{self.name!r} in {base_path}"
            )
        elif not wanted:
            # The real server would unload; we keep what serves, since an
            # empty listing is more often a copy under way than a wish.
            self._complain(
                f"no version of model {self.name!r} in {base_path}: "
                "it holds no folder named by an integer"
            )
        else:
            self._complaint = ""
        return wanted

    def _watch(self) -> None:
        while not self._stopping.wait(self.poll_s):
            try:
                self.poll()
            except Exception:
                # The watcher outlives a fault; requests are not concerned.
                _log.exception("model %r: looking for versions", self.name)

    def _load(self, number: int, path: str) -> None:
        stamp = version_folders.stamp(path)
        old = self._versions.get(number)
        if old and old.error and (old.path, old.stamp) == (path, stamp):
            return  # It failed, and nobody has changed it since.
        new = Version(number, path, State.LOADING, stamp=stamp)
        with self._lock:
            self._versions[number] = new
        started = time.monotonic()
        try:
            model = self._loader(path)
        except Exception as e:
            with self._lock:
                new.state = State.END
                new.error = status.from_exception(e)
            text = status.one_line(new.error.message)
            _log.error("model %r version %d: %s", self.name, number, text)
            return
        before = None
        with self._lock:
            new.model = model
            if self.is_stopping:
                before = new
            else:
                new.state = State.AVAILABLE
                before = self._serving.get(number)
                self._serving[number] = new
        took = time.monotonic() - started
        _log.info("model %r version %d: %.1f s", self.name, number, took)
        if before:
            self._unload(before)

    def _drop_others(self, wanted: dict[int, str]) -> None:
        """Unloads what is not wanted, once something wanted serves."""
        with self._lock:
            if not any(
                version.path == wanted.get(number)
                for number, version in self._serving.items()
            ):
                return
            others = [
                self._serving.pop(number)
                for number in list(self._serving)
                if number not in wanted
            ]
        for version in others:
            self._unload(version)

    def _unload(self, version: Version) -> None:
        with self._lock:
            version.state = State.UNLOADING
        self._close_if_idle(version)

    def _close_if_idle(self, version: Version) -> None:
        with self._lock:
            if version.state != State.UNLOADING or version.users:
                return
            version.state = State.END
            model, version.model = version.model, None
        model.close()
        _log.info("model %r version %d: unloaded", self.name, version.number)
        if not self.is_stopping:
            # A tf.Graph is a circle of references; left to Python's own time,
            # several versions' graphs can wait for it.
            del model
            gc.collect()

    def _complain(self, text: str) -> None:
        # At each look until something serves, after that once.
        if not self.is_serving or text != self._complaint:
            _log.warning("%s", text)
        self._complaint = text


def not_served(name: str, version: int | None) -> status.StatusError:
    """Returns the error of a request for what is not loaded.

    Args:
        name: The model asked for.
        version: The version asked for; None for the newest.
    """
    wanted = (
        f"Latest({name})" if version is None else f"Specific({name}, {version})"
    )
    return status.not_found(f"Servable not found for request: {wanted}")
