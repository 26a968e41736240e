"""The HTML report of predictions: one file that stands alone.

A summary, probability over time per person, and for each clip its pictures
and the attention map with the context frames that were looked at. Pictures
are data within the page; curves and maps are inline SVG, so that the file
needs no script and no network.
"""

import os
import pathlib

import jinja2
import numpy as np

from emorec.data import files, sample_plan
from emorec.evaluation import attention_map, person_charts, smoothing
from emorec.evaluation.steps import moment
from emorec.evaluation.thumbnails import Thumbnails
from emorec.evaluation.timeline import most_seen
from emorec.video import blur as blurring
from emorec.video.container import shown
from emorec.video.curves import Curves, Person

# What one file shows; a long batch is cut, and the report says so.
MAX_CLIPS = 40
MAX_PEOPLE = 40
MAX_ROWS = 300
THUMBNAILS = 8
# Face frames for which it is told what was looked at, and how many of that.
_MAP_ROWS, _MAP_TOP = 6, 3
# Clips of a video that are open when the page is; the others at a click.
_OPEN = 2
# With a face in less of the frames, or in fewer frames, a person's answer
# rests on little; the page says so.
_LOW_COVERAGE = 0.5
_FEW_FRAMES = 4


class ClipReport:
    """Collects results of `emorec.predict` and writes the page.

    Keeps the pictures of at most `MAX_CLIPS` clips, `THUMBNAILS` frames and
    those of the attention map of each; of all others only numbers.

    Args:
        description: `Bundle.describe()` of the model that answered.
        thumbnails: Whether the page has pictures; without, it has none.
        blur: Whether all faces in them are hidden.
        detector: The `FaceDetector` whose engine finds the faces to hide,
            or a function that gives one, asked for in `write` alone; by
            default one is made, which needs TensorFlow.
        smooth: Seconds by which curves over time are smoothed; the page says
            so. Answers are not.
    """

    def __init__(
        self,
        description: dict,
        *,
        thumbnails: bool = True,
        blur: bool = False,
        detector=None,
        smooth: float | None = None,
    ):
        smoothing.check(smooth or 0)
        self._description = description
        self._thumbnails = thumbnails
        self._hider = blurring.FaceHider(detector) if blur else None
        self._smooth = smooth
        self._curves = Curves()
        self._videos: dict[str, dict] = {}
        self._shown = 0
        self._left_out = 0

    def add(self, result) -> None:
        """Adds one `emorec.results.Result`."""
        video = self._videos.setdefault(
            result.video,
            {"clips": {}, "error": None, "warning": None, "no_face": None},
        )
        video["warning"] = video["warning"] or result.warning
        self._curves.add(result)
        if result.error is not None:
            video["error"] = result.error
        elif result.answer is None:
            video["no_face"] = result.clip.frames_total
        elif result.whole:
            pass  # Told in the summary, out of the curves.
        elif self._shown >= MAX_CLIPS:
            self._left_out += 1
        else:
            self._shown += 1
            clips = video["clips"].setdefault(result.track, [])
            clips.append(_clip(result, self._thumbnails))

    def write(self, path: str | os.PathLike) -> None:
        """Writes the page, atomically.

        Raises:
            EmorecError: The file cannot be written.
        """
        for video in self._videos.values():
            for clips in video["clips"].values():
                for clip in clips:
                    _fill(clip, self._hider)
        folder = pathlib.Path(__file__).parent / "templates"
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folder),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals["moment"] = moment
        page = environment.get_template("clip_report.html").render(
            **self._content(),
            model=self._description,
            sample=sample_plan.SOURCE
            in self._description["info"]["data"]["sources"],
            calibration=self._description["info"].get("calibration"),
            thumbnails=self._thumbnails,
            hidden=self._hider is not None,
            least_face=blurring.MIN_FACE,
            smoothed=smoothing.stated(self._smooth),
        )
        with files.atomic(path) as temporary:
            temporary.write_text(page, encoding="utf-8")

    def _content(self) -> dict:
        people = self._curves.people()
        drawn = {id(person) for person in most_seen(people, MAX_PEOPLE)}
        videos = []
        for name, video in self._videos.items():
            own = [person for person in people if person.video == name]
            videos.append(
                {
                    **video,
                    "name": shown(name),
                    "people": [
                        self._person(person, video, id(person) in drawn)
                        for person in own
                    ],
                }
            )
        rows = [row for video in videos for row in _summary_rows(video)]
        return {
            "videos": videos,
            "summary": rows[:MAX_ROWS],
            "rows_left_out": max(len(rows) - MAX_ROWS, 0),
            "totals": _totals(videos, people),
            "left_out": self._left_out,
            "open_clips": _OPEN,
        }

    def _person(self, person: Person, video: dict, is_drawn: bool) -> dict:
        chart = person_charts.chart(person, self._smooth) if is_drawn else None
        return {
            "track": person.track,
            "label": person.whole.label,
            "confidence": person.whole.confidence,
            "uncertain": person.whole.uncertain,
            "start": person.whole.start,
            "end": person.whole.end,
            "frames": person.frames,
            "with_face": person.frames_with_face,
            "coverage": person.frames_with_face / max(person.frames, 1),
            "windows": person.windows,
            "warnings": _warnings(person),
            "chart": chart,
            "clips": video["clips"].get(person.track, []),
        }


def _clip(result, thumbnails: bool) -> dict:
    clip, answer = result.clip, result.answer
    order = np.argsort(-answer.probabilities, kind="stable")
    made = attention_map.plan(result, _MAP_ROWS, _MAP_TOP)
    steps = attention_map.spread(clip.frames_with_face, THUMBNAILS)
    wanted = {*steps, *(attention_map.steps_of(made) if made else ())}
    return {
        "start": clip.start,
        "end": clip.end,
        "label": result.label,
        "confidence": result.confidence,
        "uncertain": result.uncertain,
        "bars": [
            (result.labels.names[i], float(answer.probabilities[i]))
            for i in order
        ],
        "frames": clip.frames_total,
        "with_face": clip.frames_with_face,
        "pictures": [
            {
                "step": i,
                "time": float(clip.times[i]),
                "attended": _attended(answer.attention, i),
            }
            for i in steps
        ],
        "map": made and {**made, "cells": _cells(made["matrix"])},
        "thumbnails": Thumbnails(clip, wanted) if thumbnails else None,
    }


def _fill(clip: dict, hider) -> None:
    """Makes a clip's pictures; a second call, for another file, as well."""
    made = clip["thumbnails"].made(hider) if clip["thumbnails"] else {}
    for picture in clip["pictures"]:
        picture["face"] = made.get(("face", picture["step"]))
        picture["context"] = made.get(("context", picture["step"]))
    if clip["map"]:
        attention_map.fill(clip["map"], made)


def _attended(attention, step) -> float | None:
    """Mean weight of one context step over all face steps; None without."""
    return None if attention is None else float(attention[:, step].mean())


def _cells(matrix) -> list[tuple[int, int, float]]:
    """The map as (x, y, shade), 0 to 1 of its largest weight."""
    peak = max(map(max, matrix)) or 1.0
    return [
        (x, y, round(weight / peak, 3))
        for y, row in enumerate(matrix)
        for x, weight in enumerate(row)
    ]


def _warnings(person: Person) -> list[str]:
    """What a reader should know of one person's answer."""
    found = []
    seen, frames = person.frames_with_face, person.frames
    if seen < _FEW_FRAMES:
        found.append(f"The answer rests on {seen} of {frames} frames.")
    elif seen < _LOW_COVERAGE * frames:
        found.append(
            f"The face was seen in {seen} of {frames} frames: of the rest of "
            "the time nothing is known."
        )
    return found


def _summary_rows(video: dict) -> list[dict]:
    """A row for each person; one for a video that has none."""
    people = [{**person, "video": video["name"]} for person in video["people"]]
    if people:
        return people
    problem = "could not be read" if video["error"] else "no face found"
    return [{"video": video["name"], "problem": problem}]


def _totals(videos, people) -> dict:
    return {
        "videos": len(videos),
        "people": len(people),
        "windows": sum(person.windows for person in people),
        "uncertain": sum(person.whole.uncertain for person in people),
        "without": sum(
            not video["people"] and not video["error"] for video in videos
        ),
        "errors": sum(bool(video["error"]) for video in videos),
    }
