"""`fer` on every k-th frame of a video: a loop as its README has it.

Its own `Video.analyze` shows, draws and writes as it goes; without that its
work is `detect_emotions`, here on frames that OpenCV decoded. Frames between
are decoded and not even converted: no form of it is faster.
"""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Loads `fer`.

    Args:
        args: `video`; `every`, k; `mtcnn`, whether faces are found by MTCNN
            (of facenet-pytorch) and not by Haar cascades.
    """
    if args.get("mtcnn"):
        from benchmarks.sides import torchvision_parts

        torchvision_parts.provide()
    import cv2
    from fer.fer import FER

    emotions = FER(mtcnn=bool(args.get("mtcnn")))

    def run() -> dict:
        video = cv2.VideoCapture(args["video"])
        number = frames = faces = 0
        while video.grab():
            if number % args["every"] == 0:
                image = video.retrieve()[1]
                faces += len(emotions.detect_emotions(image))
                frames += 1
            number += 1
        return {"units": frames, "detail": {"frames": frames, "faces": faces}}

    return run
