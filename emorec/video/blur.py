"""Hides faces in pictures, for reports and videos that others will see.

A face is reduced to a few patches of colour: what is left of it is no detail
of the person. All faces that the detector finds are hidden, whether or not
they are persons of the results. A face that it does not find stays: one seen
from behind or the side, or smaller than `MIN_FACE` pixels of the picture as it
is searched.
"""

import dataclasses
import functools

import cv2
import numpy as np

from emorec.config import DetectorConfig

# Smallest face that is looked for, in pixels of a picture at most 640 wide;
# smaller than for an analysis (32), and four times as slow.
MIN_FACE = 20
# What is hidden about a box: hair, ears and chin, too.
_WIDER, _HIGHER = 1.35, 1.5
# Patches across a hidden face.
_PATCHES = 5
# A picture smaller than this is enlarged before faces are looked for.
_SEARCHED = 448


def hide(image: np.ndarray, boxes: np.ndarray) -> None:
    """Hides faces of a picture, in place.

    Args:
        image: uint8 [H, W, 3].
        boxes: float [N, 4], x0, y0, x1, y1 in pixels of it; what lies outside
            is left out.
    """
    height, width = image.shape[:2]
    for x0, y0, x1, y1 in np.asarray(boxes, np.float64).reshape(-1, 4):
        dx, dy = (x1 - x0) * _WIDER / 2, (y1 - y0) * _HIGHER / 2
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        left, right = np.clip([round(x - dx), round(x + dx)], 0, width)
        top, bottom = np.clip([round(y - dy), round(y + dy)], 0, height)
        if right - left < 1 or bottom - top < 1:
            continue
        part = image[top:bottom, left:right]
        mask = np.zeros(part.shape[:2], np.uint8)
        cv2.ellipse(
            mask,
            # Sixteenths of a pixel: a small face is not moved by rounding.
            (round((x - left) * 16), round((y - top) * 16)),
            (round(dx * 16), round(dy * 16)),
            0,
            0,
            360,
            255,
            -1,
            shift=4,
        )
        part[mask > 0] = _patches(part)[mask > 0]


def hidden(image: np.ndarray) -> np.ndarray:
    """Returns a picture of which nothing but a few colours is left.

    Args:
        image: uint8 [H, W, 3].

    Returns:
        The same size and type.
    """
    return _patches(image)


def _patches(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    longest = max(height, width)
    size = [
        max(1, round(_PATCHES * side / longest)) for side in (width, height)
    ]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


class FaceHider:
    """Finds and hides the faces of pictures.

    Args:
        detector: A `FaceDetector` whose engine is used, by this alone
            meanwhile; or a function that gives one when the first picture
            comes. By default one is made then, which needs TensorFlow.
        config: Of that detector; its `min_face_size` is at most `MIN_FACE`.
    """

    def __init__(self, detector=None, config: DetectorConfig | None = None):
        self._given = detector
        self._config = config or DetectorConfig()

    @functools.cached_property
    def _detector(self):
        from emorec.video.faces import FaceDetector

        given = self._given() if callable(self._given) else self._given
        engine = given.engine if given is not None else None
        least = min(self._config.min_face_size, MIN_FACE)
        config = dataclasses.replace(self._config, min_face_size=least)
        return FaceDetector(config, engine)

    def find(self, images) -> list[np.ndarray]:
        """Returns the boxes, float32 [N, 4] in pixels, of each picture.

        Args:
            images: uint8 [H, W, 3] RGB each, all of one size.
        """
        if not len(images):
            return []
        scale = max(1.0, _SEARCHED / max(images[0].shape[:2]))
        if scale > 1:
            images = [
                cv2.resize(image, None, fx=scale, fy=scale) for image in images
            ]
        return [found.boxes / scale for found in self._detector.detect(images)]

    def faceless(self, images, boxes) -> None:
        """Hides all faces of pictures, in place.

        Args:
            images: uint8 [H, W, 3] RGB each, all of one size.
            boxes: float [N, 4] for each: where faces are known to be.
        """
        for image, known, found in zip(images, boxes, self.find(images)):
            hide(image, np.concatenate([found, known]))


def decoded(jpeg: bytes) -> np.ndarray:
    """Returns a JPEG as RGB uint8 [H, W, 3]."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
