"""Our reader: sampled RGB frames out of a video file."""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Reads `video` at 8 frames a second."""
    from emorec.config import Config
    from emorec.video import reader

    config = Config().video

    def run() -> dict:
        with reader.read_frames(args["video"], config) as frames:
            taken = sum(1 for _ in frames)
            decoded = frames.progress.decoded
        return {"units": decoded, "detail": {"sampled": taken}}

    return run
