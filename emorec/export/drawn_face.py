"""A drawn face that the detector takes for one.

An export may need no photograph of anybody, and its `video` signature does
next to nothing on a picture without a face.
"""

import cv2
import numpy as np

# Height of the face over the detector's smallest one. Measured with the
# default detector: scores of .998 at 60 pixels (twice the smallest), .91 to
# 1.0 at 90 to 160.
_TIMES = 1.9
_LARGEST = 400
_BACKGROUND = (90, 110, 130)
_SKIN = (205, 165, 140)
_SHADE = (168, 135, 115)
_HAIR = (60, 40, 35)
_IRIS = (40, 30, 30)
_WHITE = (245, 245, 245)
_LIPS = (170, 80, 80)
_MOUTH = (90, 30, 30)
# Ellipses from the back to the front: centre and half axes in units of the
# face's height, and the colour.
_ELLIPSES = (
    (0, -0.12, 0.46, 0.58, _HAIR),
    (0, 0.65, 0.2, 0.35, _SHADE),
    (0, 0, 0.4, 0.54, _SKIN),
    *(
        part
        for x in (-0.17, 0.17)
        for part in (
            (x, -0.1, 0.09, 0.045, _WHITE),
            (x, -0.1, 0.042, 0.045, _IRIS),
            (x, -0.2, 0.11, 0.03, _HAIR),
        )
    ),
    (0, 0.1, 0.06, 0.09, _SHADE),
    (-0.04, 0.17, 0.02, 0.012, _HAIR),
    (0.04, 0.17, 0.02, 0.012, _HAIR),
    (0, 0.3, 0.15, 0.045, _LIPS),
    (0, 0.3, 0.13, 0.008, _MOUTH),
)


def frame(step: int, min_face_size: int, face: bool = True) -> np.ndarray:
    """Returns a frame with the face in it, which moves a little each step.

    Args:
        step: The frame's number.
        min_face_size: `detector.min_face_size`, pixels.
        face: Whether there is one.

    Returns:
        uint8 RGB [h, w, 3].
    """
    unit = min(round(_TIMES * min_face_size), _LARGEST)
    image = np.full((2 * unit, 3 * unit, 3), _BACKGROUND, np.uint8)
    left = 1.4 * unit + step % 8
    for x, y, a, b, colour in _ELLIPSES if face else ():
        cv2.ellipse(
            image,
            (round(left + x * unit), round(unit + y * unit)),
            (max(1, round(a * unit)), max(1, round(b * unit))),
            0,
            0,
            360,
            colour,
            cv2.FILLED,
            cv2.LINE_AA,
        )
    return cv2.GaussianBlur(image, (3, 3), 0)
