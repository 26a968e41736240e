"""The surest wrong answers of an evaluation, with their pictures.

A mistake that a model is sure of tells more than ten that it is not: a label
that is wrong, a face that is somebody else's, a class that is not understood.
"""

import dataclasses
from collections.abc import Collection

import numpy as np

from emorec.data import dataset, keys, records, shards
from emorec.evaluation.evaluation_result import Report

MOST = 12
PICTURES = 4
# Of a JPEG in which faces are hidden.
_QUALITY = 85


@dataclasses.dataclass(frozen=True)
class Picture:
    """Two crops of one frame.

    Attributes:
        time: Seconds from the video's start.
        face: JPEG.
        context: JPEG.
    """

    time: float
    face: bytes
    context: bytes


def worst(report: Report, most: int = MOST) -> list[dict]:
    """Returns rows with a wrong answer, the surest first.

    A row without a face has no answer and is not among them.

    Args:
        report: The evaluation.
        most: How many, at most.
    """
    wrong = [
        row
        for row in report.rows
        if row["predicted"] is not None and not row["correct"]
    ]
    # Sorting keeps the order of equals: the same file for the same answers.
    return sorted(wrong, key=lambda row: -row["confidence"])[:most]


def pictures(
    data: dataset.Dataset,
    split: str,
    rows: Collection[str],
    hider=None,
) -> dict[str, list[Picture]]:
    """Returns pictures of rows, of the window with most faces of each.

    Only the shards that hold one of the rows are read.

    Args:
        data: The data set.
        split: One of its splits.
        rows: Ids of its rows.
        hider: A `FaceHider` that hides all faces; None shows them.

    Returns:
        Row -> at most `PICTURES`, spread over the window; none where the
        records hold no crops.
    """
    wanted, best = set(rows), {}
    for path in data.files(split) if wanted else ():
        if wanted.isdisjoint(shards.read_summary(path).row_frames):
            continue
        for example in records.read(path):
            row = records.one(example, keys.CLIP_ID).split("/")[0]
            if row in wanted:
                seen = records.one(example, keys.FRAMES_WITH_FACE)
                if seen > best.get(row, (0,))[0]:
                    best[row] = (seen, _spread(example))
    made = {row: found for row, (_, found) in best.items()}
    return (
        {row: _hidden(p, hider) for row, p in made.items()} if hider else made
    )


def _spread(example) -> list[Picture]:
    """A few pictures of a record, the first and the last among them."""
    times = records.many(example, keys.FRAME_TIME)
    faces = records.many(example, keys.FACE_JPEG)
    contexts = records.many(example, keys.CONTEXT_JPEG)
    count = min(len(times), len(faces), len(contexts))
    if not count:
        return []
    chosen = np.linspace(0, count - 1, min(count, PICTURES)).astype(int)
    return [
        Picture(float(times[i]), faces[i], contexts[i])
        for i in sorted(set(chosen.tolist()))
    ]


def _hidden(pictures: list[Picture], hider) -> list[Picture]:
    """Returns the pictures without faces.

    A record does not say where in its surroundings the face is. If the hider
    finds none there, nothing but a few colours is left of that picture.
    """
    from emorec.video import blur, clip

    made = []
    for picture in pictures:
        face = blur.decoded(picture.face)
        context = blur.decoded(picture.context)
        (boxes,) = hider.find([context])
        if len(boxes):
            blur.hide(context, boxes)
        else:
            context = blur.hidden(context)
        made.append(
            Picture(
                picture.time,
                clip.encode_jpeg(blur.hidden(face), _QUALITY),
                clip.encode_jpeg(context, _QUALITY),
            )
        )
    return made
