"""`emorec.predict`: from a video file to its answers."""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Loads a model as `emorec predict` does.

    Args:
        args: `model`, `video`; `settings` of its config, or none.
    """
    from benchmarks.sides import parts

    backend = parts.backend(args["model"], args.get("settings", ()))
    detector = parts.detector(backend.config)

    def run() -> dict:
        results = parts.results(args["video"], backend, detector)
        frames = parts.frames_of(results)
        return {
            "units": frames,
            "detail": {
                "frames": frames,
                "clips": len(results),
                "labels": sorted({r.label for r in results if r.label}),
            },
        }

    return run
