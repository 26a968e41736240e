"""Each stage of a prediction, one after the other, on the whole video."""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Loads model and detector; `args` as those of `ours_predict`."""
    import time

    from benchmarks import worker
    from benchmarks.sides import parts
    from emorec.video import clip as clips
    from emorec.video import follow, reader

    backend = parts.backend(args["model"])
    config = backend.config
    detector = parts.detector(config)

    def decode():
        with reader.read_frames(args["video"], config.video) as frames:
            return list(frames)

    def detect(frames):
        follower = follow.Follower(detector, config.detector)
        return [found for _, found in follower.follow(frames)]

    def cut(frames, found):
        builder = clips.ClipBuilder(
            _Replay(found),
            config.override(["detector.detect_every=1"]),
            fps=config.video.fps,
            window_frames=config.clip.clip_frames,
        )
        return [c for c in builder.build(frames) if c.frames_with_face]

    def answer(made, read):
        start = 0
        for clip in made:
            rows = slice(start, start + clip.frames_with_face)
            start = rows.stop
            inputs = {kind: values[rows] for kind, values in read.items()}
            backend.answer(inputs, clip.frames_with_face)

    def run() -> dict:
        spent = {}

        def timed(name, work, *given):
            cpu, start = worker.cpu_seconds(), time.perf_counter()
            made = work(*given)
            spent[name] = [
                time.perf_counter() - start,
                worker.cpu_seconds() - cpu,
            ]
            return made

        frames = timed("decode", decode)
        found = timed("detection", detect, frames)
        made = timed("crops and JPEG", cut, frames, found)
        face = timed("face CNN", backend.encode, "face", made)
        context = timed("context CNN", backend.encode, "context", made)
        timed("RNN", answer, made, face | context)
        return {
            "units": len(frames),
            "detail": {
                "stages": spent,
                "faces": sum(c.frames_with_face for c in made),
            },
        }

    return run


class _Replay:
    """A detector that gives what was found before."""

    def __init__(self, found):
        self._found = iter(found)

    def detect(self, frames):
        return [next(self._found) for _ in frames]
