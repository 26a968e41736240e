"""The pictures of one sample clip: a person who moves before a scene.

A scene is one of scikit-image's photographs; each clip pans and zooms over a
crop of its own.
"""

import dataclasses
from collections.abc import Iterator
from types import MappingProxyType

import cv2
import numpy as np

from emorec.data import sample_face, sample_points

SCENES = ("table", "meadow", "stars", "wall")

# Photograph, and the colours of its darkest and brightest grey: the wheel's
# textures are grey. None keeps the photograph's own colours.
_PHOTOGRAPHS = MappingProxyType(
    {
        "table": ("coffee.png", None),
        "meadow": ("grass.png", ((10, 40, 15), (150, 225, 110))),
        "stars": ("hubble_deep_field.jpg", None),
        "wall": ("brick.png", ((85, 25, 15), (235, 165, 130))),
    }
)
# Frame height in pixels that the sizes below are given for.
_FRAME_HEIGHT = 216
_PERSON_SCALE = 0.7  # the photograph's face box is about 115 pixels high
_HALF_FACE = 50  # half a face box and a margin, pixels of the photograph


@dataclasses.dataclass(frozen=True)
class Shot:
    """What one clip shows.

    Attributes:
        expression: One of `sample_points.EXPRESSIONS`.
        scene: One of `SCENES`.
        width: Frame width in pixels.
        height: Frame height in pixels.
        frames: Number of frames.
        fps: Frames per second.
    """

    expression: str
    scene: str
    width: int
    height: int
    frames: int
    fps: int


def load_scene(name: str) -> np.ndarray:
    """Returns the photograph of a scene, RGB uint8 [H, W, 3]."""
    file, tint = _PHOTOGRAPHS[name]
    photograph = sample_face.load_photograph(file)
    if tint is None:
        return photograph
    # Transposed: the bricks lie on their side.
    share = photograph[..., :1].swapaxes(0, 1).astype(np.float32) / 255
    low, high = np.float32(tint)
    return np.rint(low + (high - low) * share).astype(np.uint8)


def render(
    identity: sample_face.Identity,
    photograph: np.ndarray,
    shot: Shot,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Yields the clip's frames, RGB uint8 [height, width, 3].

    The face starts at rest; the expression grows in the first third and then
    stays, with a slow tremble.

    Args:
        identity: The person.
        photograph: The scene, from `load_scene`.
        shot: What to show.
        rng: Decides paths, crops, light and noise.
    """
    light = np.float32(rng.uniform(0.85, 1.02) * rng.uniform(0.97, 1.03, 3))
    scene = _lit(photograph, light)
    rest, full = (
        _lit(identity.textures[k], np.append(light, 1))
        for k in ("rest", shot.expression)
    )
    rest_map, full_map = (identity.maps[k] for k in ("rest", shot.expression))
    size = (shot.width, shot.height)
    noise = rng.standard_normal((shot.height + 32, shot.width + 32))
    noise = np.repeat(np.rint(noise * 1.5).astype(np.int16)[..., None], 3, 2)
    strength = _strengths(shot, rng)
    pan = _pan(photograph.shape, shot, rng)
    place = _placement(identity, shot, rng)
    for i in range(shot.frames):
        amount = float(strength[i])
        shown = min(amount, 1.0)
        texture = cv2.addWeighted(full, shown, rest, 1 - shown, 0)
        field = cv2.addWeighted(full_map, amount, rest_map, 1 - amount, 0)
        # One interpolation of the picture: the warp is moved, not the result.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        # Replicated: the cut-out's sides are transparent and its last row is
        # the suit, which so goes on to the bottom of the frame.
        field = cv2.warpAffine(
            field, place(i), size, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        person = cv2.remap(texture, field, None, cv2.INTER_LINEAR)
        behind = cv2.warpAffine(
            scene, pan(i), size, flags=flags, borderMode=cv2.BORDER_REFLECT_101
        )
        alpha = person[..., 3].astype(np.float32) / 255
        frame = cv2.blendLinear(
            np.ascontiguousarray(person[..., :3]), behind, alpha, 1 - alpha
        )
        x, y = rng.integers(0, 32, 2)
        grain = noise[y : y + shot.height, x : x + shot.width]
        yield cv2.add(frame, np.ascontiguousarray(grain), dtype=cv2.CV_8U)


def _lit(image: np.ndarray, light: np.ndarray) -> np.ndarray:
    return np.clip(image * light, 0, 255).astype(np.uint8)


def _strengths(shot: Shot, rng) -> np.ndarray:
    """Returns the expression's strength in each frame, 0 (rest) to 1.02."""
    t = np.linspace(0, 1, shot.frames)
    start, length = rng.uniform(0.02, 0.12), rng.uniform(0.15, 0.25)
    ramp = np.clip((t - start) / length, 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    tremble = 0.05 * np.sin(2 * np.pi * (t * rng.uniform(1, 3) + rng.random()))
    return ramp * (rng.uniform(0.87, 0.97) + tremble)


def _pan(shape, shot: Shot, rng):
    """Returns frame number -> 2x3 matrix from frame to scene pixels."""
    height, width = shape[:2]
    # The crop's share of the scene, at its start and its end.
    shares = rng.uniform(0.5, 0.85, 2)
    shares[1] = np.clip(shares[1], shares[0] - 0.12, shares[0] + 0.12)
    fit = min(width / shot.width, height / shot.height)
    starts, ends = rng.random(2), rng.random(2)
    ends = starts + (ends - starts) * 0.4
    mirror = rng.random() < 0.5

    def at(i):
        t = i / max(shot.frames - 1, 1)
        zoom = fit * (shares[0] + (shares[1] - shares[0]) * t)
        room = np.array([width, height]) - zoom * np.array(
            [shot.width, shot.height]
        )
        x, y = room * (starts + (ends - starts) * t)
        if mirror:
            x += zoom * (shot.width - 1)
        return np.array([[-zoom if mirror else zoom, 0, x], [0, zoom, y]])

    return at


def _placement(identity: sample_face.Identity, shot: Shot, rng):
    """Returns frame number -> 2x3 matrix from frame to cut-out pixels."""
    unit = shot.height / _FRAME_HEIGHT
    size = identity.scale * _PERSON_SCALE * unit * rng.uniform(0.95, 1.05)
    swing = np.array([4, 5]) * unit * rng.uniform(0.4, 1, 2)
    # At the left or right edge: the context stream is the frame's middle
    # square, and SqueezeNet reads the expression of a face in it (with the
    # person in the middle, the context alone got 0.9 of the labels right).
    x = size * _HALF_FACE + swing[0]
    x = shot.width - x if rng.random() < 0.5 else x
    middle = np.array([x, shot.height * 0.5])
    speed, phase = rng.uniform(0.15, 0.4, 4), rng.random(4)
    tilt = rng.uniform(-4, 4)
    origin = np.array(sample_points.CENTRE) - sample_points.CROP[:2]

    def at(i):
        t = 2 * np.pi * (speed * i / shot.fps + phase)
        x, y = middle + swing * np.sin(t[:2])
        angle = np.deg2rad(tilt + 2 * np.sin(t[2]))
        scale = 1 / (size * (1 + 0.03 * np.sin(t[3])))
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        turn = np.array([[cos, sin], [-sin, cos]])
        turn[0] *= (-1 if identity.flip else 1) / identity.aspect
        shift = origin - turn @ (x, y)
        return np.column_stack([turn, shift])

    return at
