"""Our face detector on frames in memory."""

from collections.abc import Callable

# Upstream's own parameters, `MTCNN().detect_faces`.
UPSTREAM = (
    "detector.min_face_size=20",
    "detector.scale_factor=0.709",
    "detector.thresholds=[0.6,0.7,0.7]",
    "detector.input_width=0",
    "detector.max_faces=1000",
)


def prepare(args: dict) -> Callable[[], dict]:
    """Loads the detector.

    Args:
        args: `frames`, files of uint8 [N, H, W, 3]; `upstream`, whether with
            upstream's parameters; `boxes`, whether to give the boxes.
    """
    import numpy as np

    from benchmarks.sides import parts
    from emorec.config import Config

    settings = UPSTREAM if args.get("upstream") else ()
    detector = parts.detector(Config().override(settings))
    files = [np.load(path) for path in args["frames"]]

    def run() -> dict:
        found = [detector.detect(list(frames)) for frames in files]
        faces = sum(len(d) for file in found for d in file)
        detail = {"faces": faces}
        if args.get("boxes"):
            detail["boxes"] = [
                [d.boxes.tolist() for d in file] for file in found
            ]
        return {"units": sum(map(len, files)), "detail": detail}

    return run
