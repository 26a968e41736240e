"""facenet-pytorch's MTCNN in batches of frames, its fastest form."""

from collections.abc import Callable

BATCH = 8


def prepare(args: dict) -> Callable[[], dict]:
    """Loads the detector; `frames` as in `ours_detect`."""
    from benchmarks.sides import torchvision_parts

    torchvision_parts.provide()
    import numpy as np
    from facenet_pytorch import MTCNN

    detector = MTCNN(keep_all=True)
    files = [np.load(path) for path in args["frames"]]

    def run() -> dict:
        torchvision_parts.seconds = 0.0
        faces = 0
        for frames in files:
            for i in range(0, len(frames), BATCH):
                boxes, _ = detector.detect(frames[i : i + BATCH])
                faces += sum(0 if b is None else len(b) for b in boxes)
        return {
            "units": sum(map(len, files)),
            "detail": {
                "faces": faces,
                "suppression_in_numpy_s": round(torchvision_parts.seconds, 3),
            },
        }

    return run
