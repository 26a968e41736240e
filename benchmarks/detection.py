"""Decoding, the detector alone, and the encoders alone."""

import statistics
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks import material as materials
from benchmarks import report, videos
from benchmarks.bench import Bench, Side
from benchmarks.processes import SideError
from benchmarks.rows import Row, compared

OURS = "benchmarks.sides.ours_detect"
PEER = "benchmarks.sides.mtcnn_detect"
FACENET = "benchmarks.sides.facenet_detect"
ENCODE = "benchmarks.sides.ours_encode"
ONE_IMAGE = "benchmarks.sides.keras_predict"
MTCNN = "mtcnn 1.0.0, a frame at a time"
# Two boxes are of one face from here on.
SAME_FACE = 0.5


def rows(bench: Bench) -> Iterator[Row]:
    """Yields the rows of single stages."""
    yield _decoding(bench)
    yield from _detectors(bench)
    yield _same_boxes(bench)
    yield from _encoders(bench)


def _decoding(bench) -> Row:
    args = {"video": str(bench.material.video(10 if bench.quick else 60))}
    return bench.pair(
        "decode, 640x360, 8 of 25 frames a second in RGB",
        "frames/s",
        Side("benchmarks.sides.ours_decode", args),
        Side("benchmarks.sides.opencv_decode", args, venv="peers"),
        peer_name="OpenCV, sequential grab()",
    )


def _detectors(bench) -> Iterator[Row]:
    sizes = (("640x360", materials.SMALL, 4.0), ("1280x720", materials.HD, 3.0))
    count = 4 if bench.quick else 24
    for size_name, size, goal in sizes:
        path = _frames(bench, bench.material.face, count, size)
        args = {"frames": [path]}
        sides = {
            "ours": Side(OURS, {**args, "upstream": True}),
            "mtcnn": Side(PEER, args, venv="peers"),
            "defaults": Side(OURS, args),
            "facenet": Side(FACENET, args, venv="torch"),
        }
        name = f"detector, {size_name}"
        yield from bench.table(
            "frames/s",
            sides,
            [
                {
                    "name": f"{name}, upstream's parameters",
                    "ours": "ours",
                    "peer": "mtcnn",
                    "peer_name": MTCNN,
                    "goal": goal,
                },
                {
                    "name": f"{name}, our defaults",
                    "ours": "defaults",
                    "peer": "mtcnn",
                    "peer_name": MTCNN,
                },
                {
                    "name": f"{name}, upstream's parameters, in batches",
                    "ours": "ours",
                    "peer": "facenet",
                    "peer_name": "facenet-pytorch 2.6.0 MTCNN, batches of 8",
                },
            ],
        )


def _same_boxes(bench) -> Row:
    """Compares boxes on frames of every clip, at upstream's parameters."""
    clips = bench.material.clips
    if bench.quick:
        clips = clips[:: max(1, len(clips) // 4)][:4]
    count, files = 2 if bench.quick else 8, []
    for clip in clips:
        try:
            files.append(_frames(bench, clip, count))
        except SideError:
            continue
    args = {"frames": files, "boxes": True}
    name = "detector, share of the peer's faces found (IoU .9)"
    ours = Side(OURS, {**args, "upstream": True})
    found, failed = bench.answers(
        [ours, Side(PEER, args, venv="peers")],
        rounds=1,
        warm_up=0,
    )
    if any(failed):
        return bench.skipped(
            name, "share", "; ".join(filter(None, failed)), peer_name=MTCNN
        )
    ours, theirs = (side[0]["detail"]["boxes"] for side in found)
    detail = same_boxes(ours, theirs)
    return compared(
        name,
        "share",
        [detail["found_at_iou_0.9"]],
        [1.0],
        peer_name=MTCNN,
        goal=0.98,
        detail={**detail, "clips": len(files)},
    )


def same_boxes(ours: Sequence, theirs: Sequence) -> dict:
    """Compares the faces of two detectors, frame by frame.

    Args:
        ours: For each file, for each frame, boxes [N][4] as x0, y0, x1, y1.
        theirs: The same of the peer.

    Returns:
        `faces` of the peer, `more` of ours, `recall` (faces that we have, IoU
        .5 or more), `found_at_iou_0.9`, and of the common ones `iou_min` and
        `iou_median`. Shares are 1 where the peer found no face.
    """
    best, more = [], 0
    for a_file, b_file in zip(ours, theirs, strict=True):
        for a, b in zip(a_file, b_file, strict=True):
            overlap = overlaps(np.reshape(b, (-1, 4)), np.reshape(a, (-1, 4)))
            best += overlap.max(1, initial=0).tolist()
            more += int((overlap.max(0, initial=0) < SAME_FACE).sum())
    common = [v for v in best if v >= SAME_FACE]
    total = max(1, len(best))
    missed = len(best) - len(common)
    exact = sum(v < 0.9 for v in best)
    return {
        "faces": len(best),
        "more": more,
        "recall": 1 - missed / total,
        "found_at_iou_0.9": 1 - exact / total,
        "iou_min": min(common, default=None),
        "iou_median": statistics.median(common) if common else None,
    }


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the IoU [N, M] of boxes [N, 4] and [M, 4]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(-1)
    areas = [(v[:, 2:] - v[:, :2]).prod(-1) for v in (a, b)]
    whole = areas[0][:, None] + areas[1][None] - inside
    return inside / np.maximum(whole, 1e-9)


def _encoders(bench) -> Iterator[Row]:
    sizes = (("mini_xception", 128), ("squeezenet", 64))
    frames = _frames(bench, bench.material.face, 16, (224, 224))
    for encoder, count in sizes:
        many = {"name": encoder, "count": count, "frames": frames}
        one = {"name": encoder, "count": 8 if bench.quick else 48}
        sides = {
            "ours": Side(ENCODE, many),
            "one": Side(ONE_IMAGE, one, venv="peers"),
            "bfloat16": Side(ENCODE, {**many, "bfloat16": True}),
        }
        name = f"encoder {encoder}, 224 pixels in"
        wanted = [
            {
                "name": name,
                "ours": "ours",
                "peer": "one",
                "peer_name": "Keras predict(), an image at a time",
            },
            {
                "name": f"{name}, bfloat16",
                "ours": "bfloat16",
                "peer": "ours",
                "peer_name": "the same in float32",
            },
        ]
        missing = bfloat16_missing()
        if missing:
            del sides["bfloat16"]
        yield from bench.table("images/s", sides, wanted[: 1 if missing else 2])
        if missing:
            yield bench.skipped(
                wanted[1]["name"],
                "images/s",
                missing,
                peer_name=wanted[1]["peer_name"],
            )


def bfloat16_missing() -> str | None:
    """Says why bfloat16 is not measured, or None."""
    known = report.machine()["instructions"]
    if any(name.endswith("_bf16") for name in known):
        return None
    return "this CPU has no bfloat16 (avx512_bf16, amx_bf16)"


def _frames(bench, clip, count, size=None) -> str:
    """Saves a clip's first frames, so that both sides see the same pixels."""
    import cv2

    folder = bench.work / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    shape = "x".join(map(str, size)) if size else "whole"
    path = folder / f"{clip.stem}-{clip.stat().st_size}-{shape}-{count}.npy"
    if not path.is_file():
        taken = []
        # Three apart, as at 8 of 25 a second.
        for number, image in enumerate(videos.frames(clip)):
            if number % 3 == 0:
                shrinks = size and image.shape[1] > size[0]
                how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
                taken.append(
                    cv2.resize(image, size, interpolation=how)
                    if size
                    else image
                )
            if len(taken) == count:
                break
        if not taken:
            raise SideError(f"{clip}: has no frames")
        np.save(path, np.stack(taken))
    return str(path)
