"""Results as the data that the page draws; `static/viewer.js` draws it.

Numbers and names only: the script makes text nodes of names, never markup.
Pictures lie in files of the visit, which the browser fetches as it shows
them.
"""

import base64
import pathlib
import urllib.parse
from collections.abc import Sequence

import numpy as np

from emorec.data import sample_plan
from emorec.evaluation import attention_map, thumbnails
from emorec.results import Result, Results
from emorec.video import blur
from emorec.video.curves import curves
from emorec.video.drawing import COLOURS

# Persons that are drawn; a crowd is in the tables.
MAX_PEOPLE = 12
_NOBODY = (
    "No face was found in the {} frames that were looked at. The face must "
    "look towards the camera, be lit, and be {} pixels wide or more in a "
    "picture {} pixels wide."
)


def address(path: pathlib.Path) -> str:
    """Returns where the page's server has a file of the visit."""
    return "gradio_api/file=" + urllib.parse.quote(str(path))


def page(
    results: Results,
    pictured: Sequence[Result],
    video: pathlib.Path,
    duration: float,
    config,
    pictures: "Pictures",
) -> dict:
    """Returns what the page draws of one video.

    Args:
        results: All results of it.
        pictured: Those that have their crops and attention.
        video: The annotated video.
        duration: Its length in seconds.
        config: The model's.
        pictures: Takes the context frames; see `Pictures`.

    Returns:
        JSON: `name`, `video`, `duration`, `labels`, `warnings`, `nobody`,
        `people`, `windows` and `pictures` (addresses; windows have their
        numbers).
    """
    found = curves(results)
    # Those seen longest; a crowd's others are named below.
    shown = sorted(found, key=lambda p: -p.frames_with_face)[:MAX_PEOPLE]
    shown.sort(key=lambda p: p.track)
    tracks = {p.track for p in shown}
    windows = [_window(r, pictures) for r in pictured if r.track in tracks]
    return {
        "name": results[0].video,
        "video": address(video),
        "duration": duration,
        "labels": list(results[0].labels.names),
        "warnings": _warnings(results, len(found), len(pictured)),
        "nobody": None if found else _nobody(results, config),
        "people": [_person(p, results[0].calibrated) for p in shown],
        "windows": [w for w in windows if w is not None],
        "pictures": pictures.addresses,
    }


class Pictures:
    """Context frames as small files; frames of several persons once.

    Args:
        folder: Where they are written to; None shows none.
        hider: Hides the faces in them; None leaves them.
    """

    def __init__(
        self, folder: pathlib.Path | None, hider: blur.FaceHider | None
    ):
        self._folder = folder
        self._hider = hider
        self._numbers: dict[float, int] = {}
        self.addresses: list[str] = []

    def add(self, clip, steps: Sequence[int]) -> list[int] | None:
        """Returns the numbers of the context frames of some steps."""
        if self._folder is None:
            return None
        times = {i: round(float(clip.times[i]), 3) for i in steps}
        new = [i for i in steps if times[i] not in self._numbers]
        made = thumbnails.Thumbnails(clip, new).made(self._hider)
        for i in new:
            _, _, data = made["context", i].partition(",")
            path = self._folder / f"frame_{len(self.addresses)}.jpg"
            path.write_bytes(base64.b64decode(data))
            self._numbers[times[i]] = len(self.addresses)
            self.addresses.append(address(path))
        return [self._numbers[time] for time in times.values()]


def _window(result: Result, pictures: Pictures) -> dict | None:
    """Returns an answer's attention map; None where it has none."""
    made = attention_map.summary(result, rows=1, top=1, thumbnails=False)
    if made is None:
        return None
    weights = np.asarray(made["matrix"])
    shades = np.round(255 * weights / (made["peak"] or 1)).astype(np.uint8)
    # Of several frames that are one step of a reduced map, the first one.
    times = np.asarray(made["times"], np.float32)
    steps = np.searchsorted(result.clip.times, times).tolist()
    return {
        "track": made["track"],
        "start": made["start"],
        "end": made["end"],
        "times": np.round(made["times"], 3).tolist(),
        "peak": made["peak"],
        "even": made["even"],
        "shades": base64.b64encode(shades.tobytes()).decode(),
        "pictures": pictures.add(result.clip, steps),
    }


def _person(person, calibrated: bool) -> dict:
    whole = person.whole
    return {
        "track": person.track,
        "colour": f"rgb{COLOURS[person.track % len(COLOURS)]}",
        "label": whole.label,
        "confidence": whole.confidence,
        "uncertain": bool(whole.uncertain),
        "calibrated": calibrated,
        "frames": person.frames,
        "with_face": person.frames_with_face,
        "faces": [list(run) for run in person.faces],
        "spans": [_span(span) for span in person.spans],
    }


def _span(span) -> dict:
    probabilities = [round(float(p), 4) for p in span.probabilities]
    return {
        "start": span.start,
        "end": span.end,
        "confidence": round(float(span.confidence), 4),
        "uncertain": bool(span.uncertain),
        "probabilities": probabilities,
    }


def _warnings(results, people: int, pictured: int) -> list[str]:
    found = [r.error or r.warning for r in results if r.error or r.warning]
    if people > MAX_PEOPLE:
        found.append(
            f"{people} persons were found. The {MAX_PEOPLE} seen longest are "
            "shown here; all are in the tables."
        )
    answered = sum(r.clip is not None and r.answer is not None for r in results)
    if answered > pictured:
        found.append(
            f"The attention map is there for the first {pictured} of "
            f"{answered} answers."
        )
    return found


def _nobody(results, config) -> str:
    frames = max((r.frames for r in results), default=0)
    detector = config.detector
    return _NOBODY.format(
        frames, detector.min_face_size, detector.input_width or "any number of"
    )


def notes(description: dict) -> list[str]:
    """Returns what must be said of a model beside its answers."""
    found = list(description["info"].get("notes", []))
    if sample_plan.SOURCE in description["info"]["data"]["sources"]:
        found.append(
            "This model was trained on the generated sample set, a check of "
            "the software. Its labels are not emotions of anybody."
        )
    if description["random_weights"]:
        streams = " and ".join(description["random_weights"])
        found.append(
            f"The {streams} encoder has random weights, because the published "
            "ones were not found. Answers say nothing about emotion."
        )
    return found
