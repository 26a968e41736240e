"""Results as JSON, whole: with their pictures and their attention."""

import base64
import dataclasses

import numpy as np

from emorec.answers import Answer, Summary
from emorec.results import Result
from emorec.video.clip import Clip


def packed(result: Result) -> dict:
    """Returns a result as what JSON can hold."""
    made = {
        "video": result.video,
        "error": result.error,
        "warning": result.warning,
    }
    if result.summary is not None:
        made["summary"] = dataclasses.asdict(result.summary)
    if result.answer is not None:
        attention = result.answer.attention
        made["probabilities"] = _numbers(result.answer.probabilities)
        made["attention"] = None if attention is None else _numbers(attention)
    if result.clip is not None:
        made["clip"] = {
            **vars(result.clip),
            "times": _numbers(result.clip.times),
            "boxes": _numbers(result.clip.boxes),
            "face": [base64.b64encode(j).decode() for j in result.clip.face],
            "context": [
                base64.b64encode(j).decode() for j in result.clip.context
            ],
        }
    return made


def _numbers(values: np.ndarray) -> list:
    return np.asarray(values, np.float64).tolist()


def unpacked(value: dict, labels, calibration) -> Result:
    """Returns the result that `packed` was given."""
    clip, answer, summary = (
        value.get(key) for key in ("clip", "probabilities", "summary")
    )
    if clip is not None:
        clip = Clip(
            **{
                **clip,
                "times": np.array(clip["times"], np.float32),
                "boxes": np.array(clip["boxes"], np.float32).reshape(-1, 4),
                "face": tuple(map(base64.b64decode, clip["face"])),
                "context": tuple(map(base64.b64decode, clip["context"])),
                "frame_size": tuple(clip["frame_size"]),
            }
        )
    if answer is not None:
        attention = value["attention"]
        answer = Answer(
            np.array(answer, np.float32),
            None if attention is None else np.array(attention, np.float32),
        )
    if summary is not None:
        size = tuple(summary["frame_size"])
        summary = Summary(**{**summary, "frame_size": size})
    return Result(
        value["video"],
        clip,
        answer,
        labels,
        error=value["error"],
        warning=value["warning"],
        summary=summary,
        calibration=calibration,
    )
