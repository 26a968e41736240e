"""The machine's rate of matrix products in float32: a ceiling."""

from collections.abc import Callable

SIDE, REPEATS = 2048, 8


def prepare(args: dict) -> Callable[[], dict]:
    """Makes two matrices; `args["by"]` multiplies them, on all cores.

    Args:
        args: `by`: `tensorflow` (oneDNN) or `numpy` (OpenBLAS).
    """
    import numpy as np

    rng = np.random.default_rng(0)
    left, right = rng.random((2, SIDE, SIDE), np.float32)
    if args["by"] == "tensorflow":
        import tensorflow as tf

        left, right = tf.constant(left), tf.constant(right)

    def run() -> dict:
        for _ in range(REPEATS):
            np.asarray(left @ right)
        return {"units": REPEATS * 2 * SIDE**3 / 1e9}

    return run
