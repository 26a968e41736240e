"""A long video: frames a second and memory over its minutes."""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Loads `model`, warms up on the video `short`; measures `video`."""
    import time

    from benchmarks.sides import parts
    from emorec import predict

    backend = parts.backend(args["model"])
    detector = parts.detector(backend.config)
    parts.results(args["short"], backend, detector)

    def run() -> dict:
        minutes, start, end, window = [], time.perf_counter(), 0.0, -1
        frames = 0
        for result in predict.predict_video(args["video"], backend, detector):
            if result.clip.window != window:
                window = result.clip.window
                frames += result.clip.frames_total
            end = result.clip.end
            if end >= 60 * (len(minutes) + 1):
                now = time.perf_counter()
                minutes.append(
                    {
                        "end": round(end, 1),
                        "frames/s": round(frames / (now - start), 1),
                        "resident_mb": round(parts.resident_mb()),
                    }
                )
                frames, start = 0, now
        return {"units": len(minutes), "detail": {"minutes": minutes}}

    return run
