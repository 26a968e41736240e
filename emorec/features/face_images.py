"""Labelled face images: a folder for each class, or the CSV of FER2013.

Two forms of folder, of .png, .jpg, .jpeg, .bmp and .webp files:

    DIR/<class>/*                    validation images are drawn
    DIR/train/<class>/*              as they are split, by the folders
    DIR/validation/<class>/*         validation (or val, ...) and test

and of CSV, one 48 x 48 grey image a line, which names its split in `Usage`
(Training, PublicTest, PrivateTest) and its class by number:

    emotion,pixels,Usage
    0,70 80 82 72 58 ...,Training

An image that cannot be used is left out and told; too many of them, or a class
without images, is an error. All images are decoded once, into a file without a
name, so that memory stays bounded and epochs read pixels alone.
"""

import collections
import dataclasses
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator

import numpy as np

from emorec.data import splits
from emorec.errors import EmorecError
from emorec.features import fer2013, image_file, image_folders
from emorec.labels import LabelSet

MAX_IMAGES = 2_000_000
_TOLD = 5


@dataclasses.dataclass(frozen=True, eq=False)
class FaceImages:
    """N images, decoded.

    Attributes:
        labels: The K classes.
        pixels: uint8 [N, s, s, C]; C is 3 (RGB) or 1 (grey).
        label_ids: int64 [N].
        names: N paths relative to the folder, or `line n` of the CSV.
        rows: split -> the positions of its images, int64; `train`,
            `validation` and perhaps `test`.
        drawn: Whether the validation images were drawn from the training
            ones, as the images came without such a split.
        left_out: (name, reason) of each image that cannot be used.
        ignored: Files that are no images by their names.
        copies: Images of validation and test whose very pixels are in
            training too.
        fingerprint: 16 hex digits that name pixels, classes and splits.
    """

    labels: LabelSet
    pixels: np.ndarray
    label_ids: np.ndarray
    names: list[str]
    rows: dict[str, np.ndarray]
    drawn: bool
    left_out: list[tuple[str, str]]
    ignored: int
    copies: int
    fingerprint: str

    def counts(self, split: str) -> np.ndarray:
        """Returns the split's images of each class, int64 [K]."""
        return np.bincount(
            self.label_ids[self.rows[split]], minlength=len(self.labels)
        )

    def describe(self) -> dict:
        """Returns what is known of the images, ready for JSON."""
        return {
            "fingerprint": self.fingerprint,
            "counts": {
                split: dict(zip(self.labels.names, self.counts(split).tolist()))
                for split in self.rows
            },
            "validation_drawn": self.drawn,
            "copies_across_splits": self.copies,
            "left_out": len(self.left_out),
        }


@dataclasses.dataclass(frozen=True)
class _Image:
    """One image as it is read; without pixels it says what is wrong."""

    name: str
    split: str = ""
    label_id: int = -1
    pixels: np.ndarray | None = None
    fault: str = ""


def read(
    path: str | os.PathLike,
    size: int,
    *,
    validation_share: float,
    max_left_out: float,
    scratch: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FaceImages:
    """Reads, checks and splits the images.

    Args:
        path: The folder or the CSV file.
        size: Side in pixels to which images of a folder are resized; those
            of a CSV stay as they are.
        validation_share: Share of each class that is held out, where the
            images have no validation split of their own. The draw goes by
            the hash of an image's name: the same on every machine.
        max_left_out: Largest share of images that may be unusable, 0 to 1.
        scratch: Folder of the decoded pixels; the system's by default.
        progress: Called with (images done, all images).

    Raises:
        EmorecError: There is nothing of either form, too much cannot be
            used, or a class has no training image.
        LabelError: A folder's name is no label.
    """
    path = pathlib.Path(path)
    ignored = 0
    if path.is_dir():
        labels, files, ignored = image_folders.listed(path)
        found, total = _decoded(files, size), len(files)
    elif path.is_file():
        labels = LabelSet("fer2013", fer2013.FER2013)
        total, found = fer2013.count_lines(path), _lines(path)
    else:
        raise EmorecError(
            f"{path}: no such folder or file; --images takes a folder that "
            "holds a folder for each class, or a CSV in the form of FER2013"
        )
    with tempfile.TemporaryFile(dir=scratch) as store:
        images, shape = _collect(path, found, store, progress, total)
        kept = [i for i in images if not i.fault]
        left_out = [(i.name, i.fault) for i in images if i.fault]
        _check_left_out(path, len(kept), left_out, max_left_out)
        pixels = np.memmap(store, np.uint8, "r", shape=(len(kept), *shape))
    split, drawn = _split(kept, validation_share)
    _check_classes(path, labels, kept, split)
    return _assembled(labels, pixels, kept, split, drawn, left_out, ignored)


def _assembled(labels, pixels, kept, split, drawn, left_out, ignored):
    rows = {
        name: np.flatnonzero(split == name)
        for name in splits.DRAWN
        if (split == name).any()
    }
    digests = np.array(
        [hashlib.sha256(image).hexdigest()[:16] for image in pixels]
    )
    held_out = np.isin(digests[split != "train"], digests[rows["train"]])
    facts = [
        f"{image.name}\0{image.label_id}\0{part}\0{digest}\n"
        for image, part, digest in zip(kept, split, digests)
    ]
    named = "\n".join([*labels.names, *facts]).encode()
    return FaceImages(
        labels=labels,
        pixels=pixels,
        label_ids=np.array([i.label_id for i in kept], np.int64),
        names=[i.name for i in kept],
        rows=rows,
        drawn=drawn,
        left_out=left_out,
        ignored=ignored,
        copies=int(held_out.sum()),
        fingerprint=hashlib.sha256(named).hexdigest()[:16],
    )


def _collect(path, found, store, progress, total):
    """Writes the pixels to a file; returns the images without them."""
    images, shape, done = [], (), 0
    for image in found:
        if len(images) == MAX_IMAGES:
            raise EmorecError(f"{path}: holds more than {MAX_IMAGES} images")
        if image.pixels is not None:
            shape = image.pixels.shape
            done += image.pixels.nbytes
            try:
                # Not through the map: a full disk would end the process.
                store.write(image.pixels.tobytes())
            except OSError as e:
                raise EmorecError(
                    f"the decoded images cannot be kept ({e.strerror} after "
                    f"{done >> 20} MiB); free some space, or lower "
                    "face_train.image_size"
                ) from e
            image = dataclasses.replace(image, pixels=None)
        images.append(image)
        if progress is not None:
            progress(len(images), total)
    store.flush()
    return images, shape


def _decoded(files, size) -> Iterator[_Image]:
    for split, label_id, name, path, fault in files:
        pixels = None
        if not fault:
            try:
                pixels = image_file.read(path, size)
            except image_file.BadImageError as e:
                fault = str(e)
        yield _Image(name, split, label_id, pixels, fault)


def _lines(path) -> Iterator[_Image]:
    for line, split, label_id, pixels, fault in fer2013.read(path):
        yield _Image(f"line {line}", split, label_id, pixels, fault)


def _split(images, share) -> tuple[np.ndarray, bool]:
    """Returns each image's split, and whether validation was drawn."""
    split = np.array([i.split or "train" for i in images], "U10")
    if (split == "validation").any():
        return split, False
    by_class = collections.defaultdict(list)
    for i, image in enumerate(images):
        if split[i] == "train":
            by_class[image.label_id].append(i)
    for members in by_class.values():
        members.sort(key=lambda i: _rank(images[i].name))
        held_out = max(1, round(share * len(members)))
        split[members[: min(held_out, len(members) - 1)]] = "validation"
    return split, True


def _rank(name) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _check_left_out(path, kept, left_out, most):
    total = kept + len(left_out)
    if not total:
        raise EmorecError(
            f"{path}: holds no images; there can be "
            f"{', '.join(image_file.SUFFIXES)} files in a folder for each "
            "class, or lines in a CSV"
        )
    if not kept or len(left_out) > most * total:
        told = "; ".join(f"{n} {why}" for n, why in left_out[:_TOLD])
        more = len(left_out) - _TOLD
        raise EmorecError(
            f"{path}: {len(left_out)} of {total} images cannot be used, more "
            f"than --max_left_out={most:g} allows: {told}"
            + (f"; and {more} more" if more > 0 else "")
        )


def _check_classes(path, labels, images, split):
    ids = [i.label_id for i, s in zip(images, split) if s == "train"]
    counts = np.bincount(ids, minlength=len(labels))
    empty = [n for n, count in zip(labels.names, counts) if not count]
    if empty:
        raise EmorecError(
            f"{path}: every class needs a training image. Received: none of "
            f"{', '.join(empty)}; add some or remove the class"
        )
    if not (split == "validation").any():
        raise EmorecError(
            f"{path}: no image is left for validation: each class has one "
            "image alone; add some, or a validation folder"
        )
