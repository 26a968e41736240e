"""Writes the sample set; nothing is timed."""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Writes 32 videos of 3 s; `folder` says where."""
    from emorec.data import sample

    def run() -> dict:
        sample.write_sample_set(args["folder"], identities=4, seconds=3.0)
        return {"units": 32}

    return run
