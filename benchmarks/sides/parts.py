"""Pieces of emorec that several sides measure."""

import dataclasses
import os


def backend(model: str, settings=()):
    """Loads a model folder as `emorec predict --model_dir` does.

    Args:
        model: The folder.
        settings: `section.field=value` that the config is changed by.
    """
    from emorec import local_backend
    from emorec.training import graphs

    made = graphs.load(model)
    made = dataclasses.replace(made, config=made.config.override(settings))
    return local_backend.LocalBackend(made)


def detector(config):
    """The detector of a config, as `emorec predict` makes it."""
    from emorec.features import detector as networks
    from emorec.video.faces import FaceDetector

    return FaceDetector(config.detector, networks.engine())


def results(video: str, backend, detector) -> list:
    """Returns all results of a video.

    Raises:
        VideoError: It cannot be read.
    """
    from emorec import predict

    return list(predict.predict_video(video, backend, detector))


def frames_of(found) -> int:
    """Counts the analysed frames behind some results of one video."""
    windows = {r.clip.window: r.clip.frames_total for r in found}
    return sum(windows.values())


def sampled(video: str, fps: float = 8.0, most: int | None = None) -> list:
    """Returns the analysed frames of a video, uint8 [H, W, 3] RGB."""
    from emorec.config import Config
    from emorec.video import reader

    images = []
    with reader.read_frames(video, Config().video, fps=fps) as frames:
        for frame in frames:
            images.append(frame.image)
            if len(images) == most:
                break
    return images


def resident_mb() -> float:
    """Resident size of this process now, MiB."""
    with open("/proc/self/statm") as f:
        pages = int(f.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
