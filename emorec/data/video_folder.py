"""Videos beneath a folder, found by the names that a table gives them."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator

from emorec.errors import EmorecError, UsageError

ENDINGS = (
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .vob "
    ".webm .wmv"
).split()
MAX_VIDEOS = 1_000_000
_MAX_TOLD = 4
# Control characters, and bytes that are not UTF-8.
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def beneath(folder: str, remedy: str) -> Iterator[str]:
    """Yields the paths with a video's ending, a folder's before its folders'.

    Args:
        folder: Linked folders in it are not searched.
        remedy: What an error tells the user to do.

    Raises:
        EmorecError: A folder in it cannot be read.
    """

    def fail(error):
        raise EmorecError(
            f"{error.filename}: cannot be read ({error.strerror}); {remedy}"
        ) from error

    for place, inner, names in os.walk(folder, onerror=fail):
        inner.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            if is_video(name) and os.path.isfile(path):
                yield path


def is_video(name: str) -> bool:
    """Whether a file's name or path has a video's ending."""
    return os.path.splitext(name)[1].lower() in ENDINGS


class VideoFolder:
    """The files with a video's ending (`ENDINGS`) beneath a folder.

    Subfolders are searched, linked ones are not. No file is opened.

    Raises:
        UsageError: It is no folder.
        EmorecError: It holds no videos or more than `MAX_VIDEOS`, or a folder
            in it cannot be read.
    """

    def __init__(self, folder: str):
        if not os.path.isdir(folder):
            raise UsageError(
                f"`videos` must be a folder of clips. Received: {folder!r}"
            )
        self._folder = os.path.abspath(folder)
        self._exact: dict[str, str] = {}
        # Last part of a path -> (all parts, absolute path), without regard to
        # case, with and without the ending.
        self._by_name = defaultdict(list)
        self._by_stem = defaultdict(list)
        for path in beneath(self._folder, "make it readable or move it away"):
            if len(self) >= MAX_VIDEOS:
                raise EmorecError(
                    f"{folder}: more than {MAX_VIDEOS} videos; give a folder "
                    "that holds fewer"
                )
            self._add(path)
        if not self._exact:
            raise EmorecError(
                f"{folder}: holds no videos ({', '.join(ENDINGS)}); give "
                "the folder of the clips"
            )

    def __len__(self) -> int:
        return len(self._exact)

    def find(self, written: str) -> str:
        """Returns the absolute path of the one video that `written` names.

        An exact path beneath the folder comes first, then the end of one with
        the ending of its file, then without; the folder's own name may stand
        before them.

        Raises:
            LookupError: No video or several are meant, or one outside the
                folder; the message says which.
        """
        name = os.path.normpath(written.replace("\\", "/"))
        parts = tuple(_key(name).split("/"))
        # A drive's letter is an absolute path of Windows.
        if name[0] == "/" or ".." in parts or re.match("[A-Za-z]:", name):
            raise LookupError(
                f"video {written[:200]!r} must be a name beneath the folder "
                "of the videos, without '..'"
            )
        hits = [self._exact[name]] if name in self._exact else []
        for known in (self._by_name, self._by_stem):
            hits = hits or [
                path
                for its_parts, path in known.get(parts[-1], ())
                if its_parts[-len(parts) :] == parts
            ]
        if not hits:
            raise LookupError(
                f"there is no video {written[:200]!r}{self._hint(parts[-1])}"
            )
        if len(hits) > 1:
            told = " or ".join(map(self._quoted, hits[:_MAX_TOLD]))
            more = len(hits) - _MAX_TOLD
            raise LookupError(
                f"video {written[:200]!r} could be {told}"
                f"{f' or {more} more' if more > 0 else ''}; write its folder "
                "and its ending"
            )
        self._check(hits[0])
        return hits[0]

    def _add(self, path: str):
        relative = os.path.relpath(path, self._folder)
        self._exact[relative] = path
        parts = (
            _key(os.path.basename(self._folder)),
            *_key(relative).split("/"),
        )
        stem = os.path.splitext(parts[-1])[0]
        self._by_name[parts[-1]].append((parts, path))
        self._by_stem[stem].append(((*parts[:-1], stem), path))

    def _check(self, path: str):
        """Refuses what only seems to lie in the folder, or has a bad name."""
        root = os.path.realpath(self._folder)
        if os.path.commonpath([os.path.realpath(path), root]) != root:
            raise LookupError(
                f"video {self._quoted(path)} is a link that leads out of the "
                "folder of the videos; put the file there"
            )
        if _UNFIT.search(path):
            raise LookupError(
                f"video {self._quoted(path)} has a path that no manifest can "
                "hold; rename it or its folders"
            )

    def _quoted(self, path: str) -> str:
        return repr(os.path.relpath(path, self._folder)[:200])

    def _hint(self, name: str) -> str:
        near = self._by_stem.get(os.path.splitext(name)[0])
        return f"; there is {self._quoted(near[0][1])}" if near else ""


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
