"""Label sets: the ordered class names of a data set, a model and a server."""

import dataclasses
import os
from collections.abc import Iterable, Sequence

from emorec.errors import LabelError

# The eight classes of CHEAVD 2.0 / MEC 2017 (paper, section V-A).
MEC2017 = (
    "happy",
    "sad",
    "angry",
    "surprise",
    "disgust",
    "worried",
    "anxious",
    "neutral",
)
# The seven classes of FER2013, in the order of its files.
FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

BUILT_IN = {"mec2017": MEC2017, "fer2013": FER2013}
AUTO = "auto"

# Other words for one emotion, as other tools and data sets write them.
_WORDS = (
    ("happy", "happiness", "joy", "joyful"),
    ("sad", "sadness"),
    ("angry", "anger"),
    ("surprise", "surprised"),
    ("disgust", "disgusted"),
    ("fear", "fearful", "afraid", "scared"),
    ("neutral", "neutrality"),
    ("contempt", "contemptuous"),
    ("worried", "worry"),
    ("anxious", "anxiety"),
)

MAX_LABELS = 1000
MAX_LABEL_LENGTH = 64
_MAX_FILE_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """An ordered set of class names.

    Attributes:
        name: Where the set comes from: a built-in's name, `auto` or a file's
            base name.
        names: The class names; a class id is a position in this tuple.

    Raises:
        LabelError: There are no names, too many, or some are empty, too long,
            repeated or not printable.
    """

    name: str
    names: tuple[str, ...]

    def __post_init__(self):
        if not 1 <= len(self.names) <= MAX_LABELS:
            raise LabelError(
                f"`labels` must hold 1 to {MAX_LABELS} names. "
                f"Received: {len(self.names)} names from {self.name!r}"
            )
        for name in self.names:
            if (
                not name
                or name != name.strip()
                or len(name) > MAX_LABEL_LENGTH
                or not name.isprintable()
            ):
                raise LabelError(
                    f"`labels` must be printable names of 1 to "
                    f"{MAX_LABEL_LENGTH} characters. Received: {name!r} "
                    f"from {self.name!r}"
                )
        repeated = {n for n in self.names if self.names.count(n) > 1}
        if repeated:
            raise LabelError(
                f"`labels` must not repeat a name. Received: "
                f"{', '.join(sorted(repeated))} more than once "
                f"from {self.name!r}"
            )

    def __len__(self) -> int:
        return len(self.names)

    def id_of(self, label: str) -> int:
        """Returns the class id of `label`, or raises `LabelError`."""
        try:
            return self.names.index(label)
        except ValueError:
            raise LabelError(
                f"unknown label {label!r}: the label set {self.name!r} holds "
                f"{', '.join(self.names)}"
            ) from None

    def to_dict(self) -> dict:
        return {"name": self.name, "names": list(self.names)}

    @classmethod
    def from_dict(cls, values: dict) -> "LabelSet":
        try:
            return cls(str(values["name"]), tuple(map(str, values["names"])))
        except (KeyError, TypeError) as e:
            raise LabelError(
                f"a label set needs `name` and `names`. Received: {values!r}"
            ) from e


def match(names: Sequence[str], others: Sequence[str]) -> list[int | None]:
    """Finds each name among others, by itself or by another word for it.

    Args:
        names: Class names.
        others: Class names to find them in.

    Returns:
        For each name its position in `others`, or None.
    """
    canonical = {word: words[0] for words in _WORDS for word in words}

    def key(name):
        word = name.strip().lower()
        return canonical.get(word, word)

    known = {key(name): i for i, name in reversed(list(enumerate(others)))}
    return [known.get(key(name)) for name in names]


def resolve(spec: str, found: Iterable[str] = ()) -> LabelSet:
    """Returns the label set that a `--labels` value names.

    Args:
        spec: `mec2017`, `fer2013`, `auto`, or the path of a text file with
            one name a line.
        found: The labels that the data holds, used by `auto` alone. Their
            order does not matter: `auto` sorts them, so that ids are equal in
            every process.
    """
    if spec in BUILT_IN:
        return LabelSet(spec, BUILT_IN[spec])
    if spec == AUTO:
        names = tuple(sorted(set(found)))
        if not names:
            raise LabelError("`--labels=auto` needs data with labels: none")
        return LabelSet(AUTO, names)
    if not os.path.isfile(spec):
        raise LabelError(
            f"`--labels` must be {', '.join(BUILT_IN)}, {AUTO} or the path "
            f"of a text file with one label a line. Received: {spec!r}"
        )
    if os.path.getsize(spec) > _MAX_FILE_BYTES:
        raise LabelError(f"{spec}: a label file holds at most 1 MiB")
    try:
        with open(spec, encoding="utf-8-sig") as f:
            lines = [line.strip() for line in f]
    except (OSError, UnicodeDecodeError) as e:
        raise LabelError(f"{spec}: cannot be read as UTF-8 text ({e})") from e
    return LabelSet(os.path.basename(spec), tuple(n for n in lines if n))
