"""Small pictures of a clip's frames as data addresses, faces hidden or not."""

import base64

import cv2
import numpy as np

from emorec.video import blur
from emorec.video.clip import encode_jpeg

SIDE = 128  # Pixels.
_QUALITY = 82


class Thumbnails:
    """The pictures of one clip that a page shows.

    It holds no other picture of the clip. Hiding waits until `made`: it takes
    a detector that may be in use before.

    Args:
        clip: The clip.
        steps: The frames whose pictures are wanted.
    """

    def __init__(self, clip, steps):
        steps = sorted({int(i) for i in steps})
        self._frame_size = clip.frame_size
        self._boxes = {i: np.asarray(clip.boxes[i]) for i in steps}
        # A worker of `predict` may have left the pictures out.
        self._jpegs = {
            (stream, i): jpegs[i]
            for stream, jpegs in (
                ("face", clip.face),
                ("context", clip.context),
            )
            for i in steps
            if jpegs[i]
        }

    def made(self, hider: blur.FaceHider | None = None) -> dict:
        """Returns (stream, frame) -> `data:` address of a JPEG.

        Args:
            hider: Hides all faces; without one they are shown. The crop of a
                face keeps a few patches of colour then.
        """
        images = {
            key: _reduced(blur.decoded(jpeg))
            for key, jpeg in self._jpegs.items()
        }
        if hider is not None:
            context = [key for key in images if key[0] == "context"]
            hider.faceless(
                [images[key] for key in context],
                [self._known(i)[None] for _, i in context],
            )
            for key in images.keys() - set(context):
                images[key] = blur.hidden(images[key])
        return {
            key: address(encode_jpeg(image, _QUALITY))
            for key, image in images.items()
        }

    def _known(self, step: int) -> np.ndarray:
        """Where the frame's own face lies in its reduced context."""
        width, height = self._frame_size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return (self._boxes[step] - (left, top, left, top)) * (SIDE / side)


def address(jpeg: bytes) -> str:
    """Returns a JPEG as a `data:` address."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _reduced(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
