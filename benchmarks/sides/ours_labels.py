"""Labels and probabilities of clips, for a comparison of two settings."""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Loads `model`; answers for `videos` with `settings` of the config."""
    from benchmarks.sides import parts
    from emorec.errors import VideoError

    backend = parts.backend(args["model"], args["settings"])
    detector = parts.detector(backend.config)

    def answers(video) -> list:
        try:
            found = parts.results(video, backend, detector)
        except VideoError:
            return []
        return [
            {
                "window": r.clip.window,
                "box": r.clip.boxes.mean(0).tolist(),
                "frames": r.clip.frames_with_face,
                "label": r.label,
                "probabilities": r.answer.probabilities.tolist(),
            }
            for r in found
            if r.answer is not None
        ]

    def run() -> dict:
        found = {video: answers(video) for video in args["videos"]}
        count = sum(map(len, found.values()))
        return {"units": count, "detail": {"answers": found}}

    return run
