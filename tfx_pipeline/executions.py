"""What other executions of a node have left beside its output.

TFX names an output by the number of its execution, `<node>/<output>/<n>`. One
that was killed is there still. TFX removes one that failed, so what is worth
keeping of it is put aside first, as `kept-<n>`.
"""

import os

from emorec.data import files
from emorec.errors import EmorecError

_KEPT = "kept-"
# How many other executions are worth a look: each costs many requests of a
# bucket, and one that was killed is among the last.
NEWEST = 5


def beside(path: str, most: int | None = None) -> list[str]:
    """Returns the same output of other executions of a node, newest first.

    Args:
        path: The output of this execution, local or remote.
        most: How many of them; all where it is None.
    """
    folder, ours, names = _around(path)
    found = {n: n.removeprefix(_KEPT) for n in names if n != ours}
    return [
        files.join(folder, name)
        for name, number in sorted(found.items(), key=_number, reverse=True)
    ][:most]


def kept(path: str) -> str:
    """Returns where `keep` puts an output."""
    path = path.rstrip("/")
    return files.join(files.parent(path), f"{_KEPT}{files.name(path)}")


def keep(path: str, holds: str) -> None:
    """Puts an output aside that TFX is about to remove, and older ones out.

    Args:
        path: The output of an execution that failed.
        holds: The name in it that makes it worth keeping. Without that,
            nothing is done.

    Raises:
        EmorecError: It cannot be put aside.
    """
    folder, ours, names = _around(path)
    if not ours or not files.exists(files.join(path, holds)):
        return
    place = kept(path)
    # Numbers begin anew with a new store of metadata.
    files.remove(place)
    if files.is_remote(path):
        files.copy_tree(path, place)
    else:
        try:
            os.rename(path, place)
        except OSError as e:
            raise EmorecError(
                f"{path}: cannot be renamed to {place} ({e.strerror or e}); "
                "check the permissions of its folder"
            ) from e
        # TFX wants something to remove.
        files.makedirs(path)
    _forget(folder, [n for n in names if n != files.name(place)])


def forget(path: str) -> None:
    """Removes what was put aside, once an execution has done the work.

    Args:
        path: The output of the execution.
    """
    folder, _, names = _around(path)
    _forget(folder, names)


def _forget(folder, names):
    for name in names:
        if name.startswith(_KEPT):
            files.remove(files.join(folder, name))


def _around(path: str) -> tuple[str, str, list[str]]:
    """The folder of all executions, this one's name, and all their names."""
    path = path.rstrip("/")
    folder, ours = files.parent(path), files.name(path)
    if not ours.isdecimal():
        # Not a place of TFX's making.
        return folder, "", []
    names = files.listing(folder)
    return (
        folder,
        ours,
        [n for n in names if n.removeprefix(_KEPT).isdecimal()],
    )


def _number(pair: tuple[str, str]) -> int:
    return int(pair[1])
