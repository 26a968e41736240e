"""Each stage of a prediction, one after the other, on the whole video."""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Loads model and detector; `args` as those of `ours_predict`."""
    import time

    import numpy as np
    import tensorflow as tf

    from benchmarks import worker
    from benchmarks.sides import parts
    from emorec import predict_crops
    from emorec.video import clip as clips
    from emorec.video import follow, reader

    bundle = parts.bundle(args["model"])
    config = bundle.config
    detector = parts.detector(config)
    # As the backend does: called as it is, the network takes 30 times as long.
    network = tf.function(
        lambda inputs: bundle.model(inputs, training=False),
        reduce_retracing=True,
    )

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

    def encode(stream, made):
        jpegs = [jpeg for clip in made for jpeg in getattr(clip, stream)]
        images = predict_crops.decode_jpegs(jpegs, config.clip.crop_size)
        encoder = getattr(bundle.encoders, stream)
        return encoder.encode(images, batch=config.features.batch_frames)

    def answer(made, face, context):
        start = 0
        for clip in made:
            rows = slice(start, start + clip.frames_with_face)
            start = rows.stop
            network(
                {
                    "face_features": tf.constant(face[None, rows]),
                    "context_features": tf.constant(context[None, rows]),
                    "mask": np.ones((1, clip.frames_with_face), bool),
                }
            )

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
        face = timed("face CNN", encode, "face", made)
        context = timed("context CNN", encode, "context", made)
        timed("RNN", answer, made, face, context)
        return {
            "units": len(frames),
            "detail": {"stages": spent, "faces": len(face)},
        }

    return run


class _Replay:
    """A detector that gives what was found before."""

    def __init__(self, found):
        self._found = iter(found)

    def detect(self, frames):
        return [next(self._found) for _ in frames]
