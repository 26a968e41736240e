"""Lists a folder of labelled images, which may be split by folders too."""

import collections
import os
import pathlib

from emorec.data import splits
from emorec.errors import EmorecError
from emorec.features import image_file
from emorec.labels import LabelSet

MAX_FILES = 2_000_000

# Split ("" where it is not named), class id, path relative to the folder as
# text that can be printed, path to open, and what is wrong with it.
File = tuple[str, int, str, str, str]


def listed(root: str | os.PathLike) -> tuple[LabelSet, list[File], int]:
    """Lists the images in `root/<class>`, or in `root/<split>/<class>`.

    Class ids follow the sorted names of the folders. Hidden files are passed
    over. Links may lead to places within the folder, nowhere else.

    Returns:
        `(labels, files, others)`; others are files that are no images by
        their names.

    Raises:
        EmorecError: The folder has neither form.
        LabelError: A class's name is no label.
    """
    root = pathlib.Path(root)
    real = os.path.realpath(root)
    top = _subfolders(root, real)
    known = {
        name: split
        for name in top
        if (split := splits.NAMES.get(name.lower())) in splits.DRAWN
    }
    if known:
        _check_split_folders(root, top, known)
        places = [
            (split, label, folder)
            for name, split in known.items()
            for label, folder in _subfolders(top[name], real).items()
        ]
    else:
        places = [("", label, folder) for label, folder in top.items()]
    labels = _labels(root, {label for _, label, _ in places})
    files, others = [], 0
    for split, label, folder in places:
        found, more = _list_class(root, real, folder)
        others += more
        files += [(split, labels.id_of(label), *file) for file in found]
        if len(files) > MAX_FILES:
            raise EmorecError(f"{root}: holds more than {MAX_FILES} images")
    return labels, files, others


def _labels(root, names) -> LabelSet:
    if len(names) < 2:
        raise EmorecError(
            f"{root}: must hold a folder of images for each of two or more "
            "classes, or train and validation folders of such. "
            f"Received: {', '.join(sorted(names)) or 'none'}"
        )
    return LabelSet(_printable(root.resolve().name), tuple(sorted(names)))


def _check_split_folders(root, top, known):
    counts = collections.Counter(known.values())
    if len(known) < len(top) or not counts["train"] or max(counts.values()) > 1:
        raise EmorecError(
            f"{root}: must hold either a folder for each class, or the folders "
            "train, validation and test, each once, and train at least. "
            f"Received: {', '.join(sorted(top))}"
        )


def _subfolders(folder, real) -> dict[str, str]:
    """Returns name -> path of the folders in a folder, in name's order."""
    found = {}
    for entry in _entries(folder):
        if not os.path.isdir(entry.path):
            continue
        if not _is_within(entry.path, real):
            raise EmorecError(
                f"{entry.path}: is a link that leads out of --images; put the "
                "images there, or give the folder that holds all of them"
            )
        found[entry.name] = entry.path
    return found


def _list_class(root, real, folder):
    """Returns `([(name, path, fault)], other files)` of one class's folder."""
    files, others = [], 0
    for entry in _entries(folder):
        if os.path.isdir(entry.path):
            raise EmorecError(
                f"{entry.path}: a class's folder must hold images alone, no "
                "folders; move them up, or check which folder --images names"
            )
        if not entry.name.lower().endswith(image_file.SUFFIXES):
            others += 1
            continue
        is_inside = _is_within(entry.path, real)
        fault = "" if is_inside else "is a link that leads out of --images"
        name = pathlib.Path(entry.path).relative_to(root).as_posix()
        files.append((_printable(name), entry.path, fault))
    return files, others


def _entries(folder) -> list[os.DirEntry]:
    """Lists a folder in the same order everywhere, hidden files aside."""
    with os.scandir(folder) as found:
        visible = [e for e in found if not e.name.startswith(".")]
    return sorted(visible, key=lambda e: e.name)


def _is_within(path, real) -> bool:
    return os.path.realpath(path).startswith(os.path.join(real, ""))


def _printable(name) -> str:
    # A name that is no UTF-8 could not be written to JSON.
    return os.fsencode(name).decode("utf-8", "backslashreplace")
