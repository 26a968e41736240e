"""The files of each visit, and their end.

A private folder holds all that one server keeps. A visit has a folder of its
own in it, under a name that cannot be guessed: whoever has the name can read
what is in it through the server. It is removed when the visit ends, and the
private folder when the server does; what a killed server left is removed when
the next one starts.
"""

import contextlib
import fcntl
import os
import pathlib
import secrets
import shutil
import tempfile
import threading
import time

from emorec.errors import EmorecError

PREFIX = "emorec_ui_"
# What no visit has taken is removed when it has not changed for so long, in
# seconds: an upload that was broken off, or given up before its end.
LOOSE_S = 60.0
_LOCK = "lock"


class Session:
    """One visit.

    Args:
        folder: Its own folder, which is there.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._guard = threading.Lock()
        self._ended = False
        self._job = None

    def start(self, job) -> bool:
        """Starts `job`, the visit's work from now on; stops the one before.

        Returns:
            False where the visit has ended, and nothing was started.
        """
        with self._guard:
            before, self._job = self._job, job
            ended = self._ended
            if not ended:
                job.start()
        if before is not None:
            before.stop()
        return not ended

    def stop(self) -> None:
        """Stops the visit's work, if there is any."""
        with self._guard:
            job, self._job = self._job, None
        if job is not None:
            job.stop()

    def clear(self) -> None:
        """Stops the work and removes all files."""
        self.stop()
        for path in list(self.folder.iterdir()):
            _remove(path)

    def workplace(self) -> pathlib.Path:
        """Returns a new folder for a job's files, in place of the last one.

        A job that is stopped late finds its folder gone and leaves nothing.
        """
        for path in list(self.folder.iterdir()):
            if path.is_dir():
                _remove(path)
        folder = self.folder / secrets.token_hex(4)
        folder.mkdir()
        return folder

    def end(self) -> None:
        """Stops the work and removes the folder; a second call too."""
        with self._guard:
            self._ended = True
        self.stop()
        _remove(self.folder)

    @property
    def ended(self) -> bool:
        return self._ended

    def adopt(self, upload: str | os.PathLike) -> pathlib.Path:
        """Takes an uploaded file into the folder, in place of all others.

        Until then it lies where the same bytes of another visit would lie,
        and nothing would remove it with the visit.

        Raises:
            EmorecError: It is not there any more.
        """
        upload = pathlib.Path(upload)
        if upload.parent != self.folder:
            self.clear()
            target = self.folder / upload.name
            try:
                os.rename(upload, target)
            except OSError as e:
                raise EmorecError(
                    "the uploaded file is gone; drop it again"
                ) from e
            with contextlib.suppress(OSError):
                upload.parent.rmdir()
            upload = target
        return upload


class Store:
    """All visits of one server; a context manager that removes everything.

    Attributes:
        files: The folder that uploads are written to and files are served
            from.

    Args:
        parent: Where the private folder is made; the system's temporary
            folder by default.
    """

    def __init__(self, parent: str | os.PathLike | None = None):
        parent = pathlib.Path(parent or tempfile.gettempdir())
        sweep(parent)
        try:
            # Mode 0700: other users of the machine see nothing of it.
            self._folder = pathlib.Path(
                tempfile.mkdtemp(prefix=PREFIX, dir=parent)
            )
            self.files = self._folder / "files"
            self.files.mkdir()
            self._lock = _hold(self._folder)
        except OSError as e:
            raise EmorecError(
                f"{parent}: cannot be written ({e.strerror}); set $TMPDIR to "
                "a folder that is yours"
            ) from e
        self._guard = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._tidy, daemon=True).start()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_):
        self.close()

    def session(self, key: str) -> Session:
        """Returns the visit of a key, which begins with the first call."""
        with self._guard:
            if key not in self._sessions:
                folder = self.files / secrets.token_urlsafe(24)
                folder.mkdir(mode=0o700)
                self._sessions[key] = Session(folder)
            return self._sessions[key]

    def end(self, key: str) -> None:
        """Ends a visit, if there is one."""
        with self._guard:
            session = self._sessions.pop(key, None)
        if session is not None:
            session.end()

    def stop(self) -> None:
        """Stops the work of all visits."""
        for session in list(self._sessions.values()):
            session.stop()

    def close(self) -> None:
        """Ends all visits and removes everything; a second call too."""
        self._closed.set()
        for key in list(self._sessions):
            self.end(key)
        _remove(self._folder)
        self._lock.close()

    def tidy(self, now: float | None = None) -> None:
        """Removes what no visit has taken.

        Args:
            now: The time in seconds; by default the clock's.
        """
        now = time.time() if now is None else now
        with self._guard:
            taken = {session.folder for session in self._sessions.values()}
        for path in self.files.iterdir():
            with contextlib.suppress(FileNotFoundError):
                old = now - path.stat().st_mtime > LOOSE_S
                if old and path not in taken:
                    _remove(path)

    def _tidy(self):
        while not self._closed.wait(LOOSE_S / 2):
            with contextlib.suppress(OSError):
                self.tidy()


def sweep(parent: str | os.PathLike) -> None:
    """Removes what servers left that did not end themselves.

    A server holds a lock on a file of its folder as long as it lives, so that
    the folder of one that runs is known.
    """
    for folder in pathlib.Path(parent).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with open(folder / _LOCK, "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)


def _hold(folder: pathlib.Path):
    """Locks a file in the folder, which has its name only once it is locked."""
    lock = open(folder / f".{_LOCK}", "wb")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.rename(folder / f".{_LOCK}", folder / _LOCK)
    return lock


def _remove(path: pathlib.Path) -> None:
    """Removes a file or a folder; what is written to it meanwhile goes too."""
    if path.is_dir() and not path.is_symlink():
        for _ in range(3):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                return
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
