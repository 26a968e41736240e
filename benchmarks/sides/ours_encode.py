"""One of our encoders on images in memory."""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Builds the encoder.

    Args:
        args: `name`; `frames`, a file of uint8 [N, 224, 224, 3]; `count`,
            images in a run, the frames again and again; `bfloat16`.
    """
    import numpy as np

    from emorec.features import encoder

    made = encoder.create(args["name"], allow_random=True, download=False)
    frames = np.load(args["frames"])
    images = np.resize(frames, (args["count"], *frames.shape[1:]))
    detail = {"random_weights": made.weights["random"]}

    def encode(rows, bfloat16):
        return made.encode_kinds(rows, ("features",), bfloat16=bfloat16)[
            "features"
        ]

    if args.get("bfloat16"):
        low, high = (encode(frames, how) for how in (True, False))
        norms = np.linalg.norm(low, axis=1) * np.linalg.norm(high, axis=1)
        cosine = (low * high).sum(1) / norms
        detail["least_cosine"] = float(cosine.min())

    def run() -> dict:
        encode(images, bool(args.get("bfloat16")))
        return {"units": len(images), "detail": detail}

    return run
