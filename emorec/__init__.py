"""emorec: the emotion in a video clip, from the face and its surroundings."""

__version__ = "0.1.0"


def __getattr__(name: str):
    """Imports the Python interface when it is first asked for."""
    if name == "EmotionRecognizer":
        from emorec.recognizer import EmotionRecognizer

        return EmotionRecognizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "EmotionRecognizer"]
