"""Where the time of a whole `emorec predict` goes."""

from collections.abc import Callable


def prepare(args: dict) -> Callable[[], dict]:
    """Does nothing yet: all of it is to be measured; see `ours_predict`."""
    import time

    def run() -> dict:
        spent = {}

        def timed(name, work, *given):
            start = time.perf_counter()
            answer = work(*given)
            spent[name] = round(time.perf_counter() - start, 3)
            return answer

        # As the command does.
        timed("import tensorflow", _import_tensorflow)
        timed("import emorec", _imports)
        from benchmarks.sides import parts

        backend = timed("load the model", parts.backend, args["model"])
        detector = timed("load the detector", parts.detector, backend.config)
        words = (args["video"], backend, detector)
        timed("first video", parts.results, *words)
        found = timed("the same again", parts.results, *words)
        return {
            "units": 1,
            "seconds": sum(spent.values()) - spent["the same again"],
            "detail": {"parts": spent, "frames": parts.frames_of(found)},
        }

    return run


def _import_tensorflow():
    from emorec.features import sessions

    sessions.load()


def _imports():
    from emorec import local_backend, predict  # noqa: F401
    from emorec.video import faces, tensorflow_engine  # noqa: F401
