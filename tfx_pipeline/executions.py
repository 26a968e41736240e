"""What other executions of a node have left beside its output.

TFX names an output by the number of its execution, `<node>/<output>/<n>`. One
that was killed is there still. TFX removes one that failed, so what is worth
keeping of it is put aside first, as `kept-<n>`.
"""

import os

from emorec.data import files

_KEPT = "kept-"


def beside(path: str) -> list[str]:
    """Returns the same output of other executions of a node, newest first.

    Args:
        path: The output of this execution, local or remote.
    """
    folder, ours, names = _around(path)
    found = {n: n.removeprefix(_KEPT) for n in names if n != ours}
    return [
        files.join(folder, name)
        for name, number in sorted(found.items(), key=_number, reverse=True)
    ]


def keep(path: str, holds: str) -> None:
    """Puts an output aside that TFX is about to remove, and older ones out.

    Args:
        path: The output of an execution that failed.
        holds: The name in it that makes it worth keeping. Without that,
            nothing is done.
    """
    folder, ours, names = _around(path)
    if not ours or not files.exists(files.join(path, holds)):
        return
    kept = files.join(folder, f"{_KEPT}{ours}")
    if files.is_remote(path):
        files.copy_tree(path, kept)
    else:
        os.rename(path, kept)
        # TFX wants something to remove.
        files.makedirs(path)
    _forget(folder, names)


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
