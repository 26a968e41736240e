"""Whether a server's answers are right.

A model of emorec: its probabilities are held against the trainer's, or where
those are not known against the SavedModel in this process. Any other one: all
its outputs are held against the SavedModel in this process.
"""

import json
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfx_pipeline import servable_requests

# Outputs with the classes and with their probabilities.
_ANSWERS = ("labels", "probabilities")
_CLASSIFIED = ("classes", "scores")
# What a SavedModel raises that is damaged, or takes no such input.
_FAULTS = (OSError, ValueError, TypeError, KeyError, tf.errors.OpError)


class Refusal(Exception):
    """An answer is not right; the message says why."""


class Reference:
    """The SavedModel in this process; loaded when it is first asked."""

    def __init__(self, path: str):
        self._path = path
        self._loaded = None

    def fault(self) -> str | None:
        """Returns why it does not load here, in one line; None if it does."""
        try:
            self._load()
        except _FAULTS as e:
            return " ".join(str(e).split())[:300]
        return None

    def _load(self):
        if self._loaded is None:
            self._loaded = tf.saved_model.load(self._path)
        return self._loaded

    def answer(self, name: str, request: Mapping) -> dict[str, np.ndarray]:
        """Returns what a signature answers here.

        Raises:
            Refusal: It cannot be loaded, or does not answer.
        """
        try:
            outputs = self._load().signatures[name](
                **{k: tf.constant(v) for k, v in request.items()}
            )
            return {k: v.numpy() for k, v in outputs.items()}
        except _FAULTS as e:
            raise Refusal(
                "the server answers, but the SavedModel does not answer in "
                f"this process ({' '.join(str(e).split())[:300]})"
            ) from e


class OfAnyModel:
    """Holds all outputs against those in this process."""

    def __init__(self, reference: Reference, tolerance: float):
        self._reference = reference
        self._tolerance = tolerance

    def is_foreign(self, name: str, request: Mapping) -> bool:
        """Whether a signature refuses the records here as well."""
        try:
            self._reference.answer(name, request)
        except Refusal:
            return True
        return False

    def difference(self, name, request, answer) -> float | None:
        """Returns the largest difference of a number.

        Raises:
            Refusal: An output is absent, not finite, or another.
        """
        wanted = self._reference.answer(name, request)
        if sorted(wanted) != sorted(answer):
            raise Refusal(
                f"gives {', '.join(sorted(answer))}; in this process it gives "
                f"{', '.join(sorted(wanted))}"
            )
        found = [
            _difference(key, answer[key], wanted[key], self._tolerance)
            for key in sorted(wanted)
        ]
        return max((d for d in found if d is not None), default=None)


class OfEmorec:
    """Holds probabilities against the trainer's, where they are known."""

    def __init__(self, reference, tolerance, described, samples):
        self._reference = reference
        self._tolerance = tolerance
        self._described = described
        self._expected = samples.expected

    def is_foreign(self, name: str, request: Mapping) -> bool:
        """Whether a refused request may be none of the model's fault."""
        return False

    def difference(self, name, request, answer) -> float | None:
        """Returns the largest difference of a probability.

        Raises:
            Refusal: An output is absent, not finite, or another.
        """
        if name == servable_requests.DESCRIBE:
            self._check_description(answer)
            return None
        rows = len(next(iter(request.values())))
        classifies = name == servable_requests.CLASSIFY
        words, answers = _CLASSIFIED if classifies else _ANSWERS
        names = self._described["labels"]["names"]
        labels = [n.encode() for n in names]
        if not _is_same(answer.get(words), [labels] * rows):
            raise Refusal(f"its `{words}` are not those of the model")
        wanted = (
            self._expected[:rows]
            if self._expected is not None
            else self._reference.answer(name, request)[answers]
        )
        return _difference(
            answers, answer.get(answers), wanted, self._tolerance
        )

    def _check_description(self, answer) -> None:
        try:
            texts = {bytes(t) for t in answer["config"].reshape(-1)}
            described = [json.loads(t) for t in texts]
        except (KeyError, ValueError, TypeError) as e:
            raise Refusal(f"gives no description ({e!r:.100})") from e
        if described != [self._described]:
            raise Refusal("describes another model than its assets do")


def _is_same(found, wanted) -> bool:
    return found is not None and np.array_equal(found, np.array(wanted, object))


def _difference(key, found, wanted, tolerance) -> float | None:
    """Returns the largest difference; None for what is no float.

    Raises:
        Refusal: It is beyond the tolerance, or of another form.
    """
    if found is None:
        raise Refusal(f"gives no `{key}`")
    if found.shape != wanted.shape:
        raise Refusal(
            f"`{key}` has the shape {list(found.shape)}, not "
            f"{list(wanted.shape)}"
        )
    if found.dtype.kind != "f":
        if not np.array_equal(found, wanted):
            raise Refusal(f"`{key}` is not the same")
        return None
    if not np.isfinite(found).all():
        raise Refusal(f"`{key}` is not finite")
    differences = np.abs(found.astype(np.float64) - wanted)
    worst = float(differences.max(initial=0.0))
    # Numbers that are no shares are held against their own size.
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    if not worst <= tolerance * scale:
        raise Refusal(
            f"`{key}` differs by {worst:.2g}, {tolerance * scale:.2g} is "
            "allowed"
        )
    return worst
