"""The parts of a result: an answer, how sure it is, a video's sums."""

import dataclasses

import numpy as np

from emorec.errors import ModelError, UsageError
from emorec.evaluation import calibration

NO_FACE = "no face found"
# Below it, a calibrated answer is more likely wrong than right.
UNCERTAIN_BELOW = 0.5


@dataclasses.dataclass(frozen=True)
class Answer:
    """A backend's answer for one clip of n frames.

    Attributes:
        probabilities: float32 [K], sums to 1.
        attention: float32 [n, n], or None where the system has none.
    """

    probabilities: np.ndarray
    attention: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How a model's probabilities become the shares of right answers.

    Attributes:
        temperature: Divides the logits; None where none was fitted.
        threshold: An answer of less confidence is uncertain; 0 to 1.
    """

    temperature: float | None = None
    threshold: float = UNCERTAIN_BELOW

    def __post_init__(self):
        if not 0 <= self.threshold <= 1:
            raise UsageError(
                "the threshold of uncertain answers must be 0 to 1. "
                f"Received: {self.threshold}"
            )

    @classmethod
    def of(
        cls, description: dict, threshold: float | None = None
    ) -> "Calibration":
        """Reads a model's own.

        Args:
            description: `Bundle.describe()`.
            threshold: Taken in place of the model's, which is
                `calibration.threshold` of its information or, without one,
                `UNCERTAIN_BELOW`.

        Raises:
            ModelError: The description's calibration is malformed.
            UsageError: The threshold is not from 0 to 1.
        """
        found = description.get("info", {}).get("calibration") or {}
        try:
            temperature = found.get("temperature")
            if temperature is not None:
                temperature = float(temperature)
                if not 0 < temperature < float("inf"):
                    raise ValueError(f"a temperature of {temperature}")
            stored = float(found.get("threshold", UNCERTAIN_BELOW))
        except (AttributeError, TypeError, ValueError) as e:
            raise ModelError(
                f"the model's calibration is damaged ({e}); train or export "
                "the model again"
            ) from e
        return cls(temperature, stored if threshold is None else threshold)

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Returns calibrated probabilities, float [..., K]."""
        if self.temperature is None:
            return probabilities
        return calibration.apply(probabilities, self.temperature)


# Of a model that tells of no calibration.
UNCALIBRATED = Calibration()


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a person's windows of one video are together.

    Attributes:
        track: The person's number within the video.
        start: Seconds; where the person's first window begins.
        end: Seconds; where the last one ends.
        frames: Frames sampled in the whole video, with this person or not.
        frames_with_face: Frames with the person's face. A frame that lies
            in several windows counts once.
        windows: The person's windows, overlapping ones too.
        frame_size: Width and height of the video's frames, pixels.
    """

    track: int
    start: float
    end: float
    frames: int
    frames_with_face: int
    windows: int
    frame_size: tuple[int, int]


def notes_of(description: dict) -> tuple[str, ...]:
    """Returns what must be said beside a model's answers, a line each.

    Args:
        description: `Bundle.describe()`.
    """
    random = description.get("random_weights") or ()
    notes = description.get("info", {}).get("notes") or ()
    lines = [
        f"the {stream} encoder has RANDOM frozen weights: the published ones "
        "were not found; answers say nothing about emotion"
        for stream in random
    ]
    return tuple(dict.fromkeys([*lines, *map(str, notes)]))
