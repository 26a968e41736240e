"""A backend and a detector without networks, which a worker can make too."""

import os
import signal

import numpy as np

from emorec import predict
from emorec.config import Config
from emorec.errors import VideoError
from emorec.labels import LabelSet
from emorec.video.faces import Detections


class ToyBackend:
    """Answers with a clip's own times, so that a mix-up shows.

    Attributes:
        asked: Frames of the clips of each call.
    """

    labels = LabelSet("auto", ("calm", "glad"))

    def __init__(self, *assignments):
        self.description = {"system": "toy", "info": {}}
        # The detectors below search whole frames alone.
        every = "detector.detect_every=1"
        self.config = Config().override([every, *assignments])
        self.asked = []

    def warm_up(self):
        pass

    def engine(self):
        return None

    def predict(self, clips):
        self.asked.append([c.frames_with_face for c in clips])
        return [
            predict.Answer(
                np.array([1 / (2 + c.start), 1 - 1 / (2 + c.start)]),
                np.full((len(c.times),) * 2, c.times[-1]),
            )
            for c in clips
        ]


class ToyDetector:
    """Finds one face in the middle of each frame.

    Args:
        fails_after: Frames after which it fails; None never does.
        error: How.
    """

    def __init__(self, fails_after=None, error=VideoError):
        self._left = fails_after
        self._error = error

    def detect(self, frames):
        if self._left is not None:
            self._left -= len(frames)
            if self._left < 0:
                raise self._error("the detector fails")
        height, width = frames[0].shape[:2]
        box = [[width / 4, height / 4, width / 2, height / 2]]
        return [
            Detections(np.array(box, np.float32), np.ones(1, np.float32))
            for _ in frames
        ]


def make():
    return ToyBackend("clip.clip_frames=4"), ToyDetector()


def die():
    os.kill(os.getpid(), signal.SIGKILL)
