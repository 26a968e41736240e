"""Frames out of TFRecords, as the extraction of features reads them."""

from collections.abc import Callable

BATCH = 32
SIZE = 224


def prepare(args: dict) -> Callable[[], dict]:
    """Writes records of JPEG frames.

    Args:
        args: `folder`; `video`, whose frames are taken; `bare`: decode the
            same JPEGs in a bare loop instead, on one thread.
    """
    import tensorflow as tf

    from emorec.config import Config
    from emorec.data import keys, records
    from emorec.features import extract

    path = _records(args["folder"], args["video"])
    if args["bare"]:
        jpegs = [
            jpeg
            for example in records.read(path)
            for jpeg in records.many(example, keys.CONTEXT_JPEG)
        ]

        def loop() -> dict:
            for jpeg in jpegs:
                tf.io.decode_jpeg(jpeg)
            return {"units": len(jpegs)}

        return loop
    config = Config().override(
        [f"clip.crop_size={SIZE}", f"features.batch_frames={BATCH}"]
    )

    def run() -> dict:
        seen = _Seen()
        for _ in extract._encode(path, seen, ["context_features"], config):
            pass
        return {"units": seen.frames}

    return run


class _Seen:
    """Stands for the encoders and counts frames: reading alone is timed."""

    def __init__(self):
        self.frames = 0

    def items(self):
        return [("context", self)]

    def of(self, _):
        return self

    def encode_kinds(self, images, kinds, _):
        self.frames += len(images)
        return dict.fromkeys(kinds)


def _records(folder, video, clips=64, steps=24) -> str:
    """Writes the frames' middle squares, as clips are kept; the path."""
    import itertools
    import pathlib

    import cv2
    import tensorflow as tf

    from emorec.data import keys, records

    path = pathlib.Path(folder) / "frames.tfrecord"
    if path.exists():
        return str(path)
    quality = [
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    jpegs, capture = [], cv2.VideoCapture(video)
    while True:
        ok, frame = capture.read()
        if not ok or len(jpegs) == clips * steps:
            break
        height, width = frame.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = frame[top : top + side, left : left + side]
        square = cv2.resize(square, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        jpegs.append(cv2.imencode(".jpg", square, quality)[1].tobytes())
    endless = itertools.cycle(jpegs)
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write(
        path,
        (
            tf.train.Example(
                features=tf.train.Features(
                    feature={
                        keys.CONTEXT_JPEG: tf.train.Feature(
                            bytes_list=tf.train.BytesList(
                                value=list(itertools.islice(endless, steps))
                            )
                        )
                    }
                )
            )
            for _ in range(clips)
        ),
    )
    return str(path)
