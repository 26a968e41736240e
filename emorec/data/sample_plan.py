"""What the sample set holds: labels, identities, splits and takes.

See `emorec.data.sample` for what the set is for.
"""

import dataclasses

from emorec.errors import UsageError

# The manifest's `source` of the set: reports warn where they meet it.
SOURCE = "emorec-sample-set"
# Raised when the same parameters would give another set.
VERSION = 2

# Label, expression, scene; in the order of `labels.MEC2017`.
RECIPES = (
    ("happy", "smile", "table"),
    ("sad", "frown", "meadow"),
    ("angry", "scowl", "stars"),
    ("surprise", "gape", "table"),
    ("disgust", "scowl", "wall"),
    ("worried", "frown", "stars"),
    ("anxious", "gape", "wall"),
    ("neutral", "smile", "meadow"),
)


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What decides the pixels; see `write_sample_set`."""

    identities: int
    clips_per_label: int
    seconds: float
    seed: int
    width: int
    height: int
    fps: int

    def __post_init__(self):
        bounds = {
            "identities": (3, 1000),
            "clips_per_label": (1, 1000),
            "seconds": (0.1, 600),
            "seed": (0, 2**32 - 1),
            "width": (96, 1920),
            "height": (96, 1080),
            "fps": (1, 60),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            kind = (int, float) if name == "seconds" else int
            if not isinstance(value, kind) or not low <= value <= high:
                raise UsageError(
                    f"`{name}` must be {low} to {high}. Received: {value!r}"
                )
        if self.width % 2 or self.height % 2:
            raise UsageError(
                "`width` and `height` must be even, as H.264's 4:2:0 wants. "
                f"Received: {self.width}x{self.height}"
            )

    @property
    def frames(self) -> int:
        return max(1, round(self.seconds * self.fps))


@dataclasses.dataclass(frozen=True)
class PlannedClip:
    """One line of the manifest and what its video shows."""

    video: str
    label: str
    expression: str
    scene: str
    split: str
    identity: int
    take: int


def split_identities(identities: int) -> list[str]:
    """Returns the split of each identity: about 4/7, 1/7 and 2/7."""
    test = max(1, round(identities * 2 / 7))
    validation = max(1, round(identities / 7))
    train = identities - test - validation
    return ["train"] * train + ["validation"] * validation + ["test"] * test


def plan_clips(wanted: Parameters) -> list[PlannedClip]:
    """Lists all clips, identity by identity."""
    return [
        PlannedClip(
            video=f"videos/person{identity:02d}_{label}_{take}.mp4",
            label=label,
            expression=expression,
            scene=scene,
            split=split,
            identity=identity,
            take=take,
        )
        for identity, split in enumerate(split_identities(wanted.identities))
        for label, expression, scene in RECIPES
        for take in range(wanted.clips_per_label)
    ]
