"""One person for the sample set: a photograph whose expression is warped.

The person is scikit-image's `astronaut` photograph (NASA, public domain), cut
out by a hand-measured outline and warped along hand-measured landmarks. An
"identity" is that person with other colours and proportions, or mirrored. The
four expressions are crude by intention: they are stimuli that a frozen CNN can
tell apart, not emotions.
"""

import dataclasses
import importlib.resources
from types import MappingProxyType

import cv2
import numpy as np

from emorec.data import sample_points as points
from emorec.errors import EmorecError

# RGB gains. The lists have different lengths, so that identities combine them.
_HAIR_GAINS = (
    (1.0, 1.0, 1.0), (0.45, 0.4, 0.42), (1.1, 0.72, 0.55), (0.7, 0.6, 0.5),
    (1.25, 1.2, 1.1),
)  # fmt: skip
_SKIN_GAINS = ((1, 1, 1), (0.88, 0.78, 0.7), (0.72, 0.6, 0.52), (1, 0.94, 0.9))
_SUIT_HUES = (0, 95, 150, 50, 120, 75, 25)  # of 180 degrees, as in OpenCV


@dataclasses.dataclass(frozen=True)
class Identity:
    """The person of one identity, ready to be drawn.

    Attributes:
        flip: Whether the person is mirrored.
        scale: Size, as a factor around 1.
        aspect: Width over height, as a factor around 1.
        textures: RGBA uint8 [h, w, 4] of the cut-out by expression, and
            `rest`; alpha is 0 outside the person.
        maps: Backward maps float32 [h, w, 2] by expression, and `rest`: the
            texture's x, y for each pixel of the warped cut-out.
    """

    flip: bool
    scale: float
    aspect: float
    textures: MappingProxyType
    maps: MappingProxyType


def load_photograph(name: str) -> np.ndarray:
    """Returns a photograph of scikit-image's wheel, RGB uint8 [H, W, 3].

    The file is read in place: nothing is ever downloaded.

    Raises:
        EmorecError: scikit-image is not installed or does not ship the file.
    """
    try:
        from PIL import Image

        path = importlib.resources.files("skimage") / "data" / name
        with path.open("rb") as f, Image.open(f) as image:
            return np.asarray(image.convert("RGB"))
    except (ModuleNotFoundError, FileNotFoundError) as e:
        raise EmorecError(
            "the sample set is drawn from photographs in scikit-image's "
            f"wheel: pip install 'scikit-image>=0.25,<0.27'. Received: {e}"
        ) from e


def make_identity(
    photograph: np.ndarray, index: int, rng: np.random.Generator
) -> Identity:
    """Draws one identity.

    Args:
        photograph: `astronaut.png`, RGB uint8 [512, 512, 3].
        index: The identity's number; it picks colours and mirroring.
        rng: Decides the proportions.
    """
    skin = _recolour(photograph, index, rng)
    rest = _closed_mouth(skin)
    helmet = _helmet(photograph.shape, rng.uniform(0.75, 1.1, 3))
    textures = {"rest": _cut(rest, helmet)}
    for name in points.EXPRESSIONS:
        shown = skin if name in points.TEETH else rest
        shown = _furrowed(shown) if name == "scowl" else shown
        textures[name] = _cut(shown, helmet)
    build = _proportions(rng)
    maps = {"rest": _backward_map(build, points.REST)}
    for name, moves in points.MOVES.items():
        maps[name] = _backward_map(build, moves)
    return Identity(
        flip=index % 2 == 1,
        scale=float(rng.uniform(0.93, 1.07)),
        aspect=float(rng.uniform(0.95, 1.05)),
        textures=MappingProxyType(textures),
        maps=MappingProxyType(maps),
    )


def _soft_mask(
    image: np.ndarray, line: tuple, sigma: float, thickness: int = 0
) -> np.ndarray:
    """Returns a blurred polygon or polyline, float32 [H, W], 0 to 1."""
    mask = np.zeros(image.shape[:2], np.uint8)
    # 4 fractional bits: the points were measured to half a pixel.
    line = [np.round(np.float32(line) * 16).astype(np.int32)]
    if thickness:
        cv2.polylines(mask, line, False, 255, thickness, cv2.LINE_AA, 4)
    else:
        cv2.fillPoly(mask, line, 255, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask, (0, 0), sigma).astype(np.float32) / 255


def _mix(image, other, mask) -> np.ndarray:
    """Blends uint8 `other` (an image or a colour) over `image` by `mask`."""
    mask = mask[..., None]
    mixed = image * (1 - mask) + np.float32(other) * mask
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _recolour(photo, index: int, rng) -> np.ndarray:
    """Gives hair, skin and suit the identity's colours; darkens the brows."""
    hsv = cv2.cvtColor(photo, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + _SUIT_HUES[index % 7]) % 180
    suit = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    rows = np.arange(photo.shape[0], dtype=np.float32)[:, None]
    below = np.clip((rows - points.COLLAR_TOP) / 16, 0, 1)
    below = np.broadcast_to(below, photo.shape[:2])
    jitter = rng.uniform(0.95, 1.05, (2, 3))
    skin_gain = np.float32(_SKIN_GAINS[index % 4] * jitter[0])
    hair_gain = np.float32(_HAIR_GAINS[index % 5] * jitter[1])
    image = np.clip(photo * skin_gain, 0, 255)
    image = _mix(
        image, np.clip(photo * hair_gain, 0, 255),
        _soft_mask(photo, points.HAIR, 1.5),
    )  # fmt: skip
    image = _mix(image, suit, below)
    # The photograph's brows are thin lines; at 64 pixels a CNN misses them.
    for brow in points.BROWS:
        mask = _soft_mask(photo, brow, 0.8, thickness=3)
        image = _mix(image, image * np.float32(0.45), mask)
    return image


def _closed_mouth(image) -> np.ndarray:
    """Takes the smile's folds away and fills the mouth with red.

    Not with a darker colour: MTCNN then misses some open mouths.
    """
    folds = np.zeros(image.shape[:2], np.uint8)
    for fold in points.FOLDS:
        cv2.polylines(folds, [np.int32(fold)], False, 255, 6)
    smooth = cv2.inpaint(image, folds, 4, cv2.INPAINT_TELEA)
    soft = cv2.GaussianBlur(folds, (0, 0), 1.5).astype(np.float32) / 255
    image = _mix(image, cv2.GaussianBlur(smooth, (0, 0), 1), soft)
    return _mix(
        image, (112, 54, 54), _soft_mask(image, points.INNER_MOUTH, 0.7)
    )


def _furrowed(image) -> np.ndarray:
    """Draws two furrows between the brows."""
    for furrow in points.FURROWS:
        mask = _soft_mask(image, furrow, 0.8, thickness=2)
        image = _mix(image, image * np.float32(0.65), mask)
    return image


def _cut(image: np.ndarray, helmet: np.ndarray) -> np.ndarray:
    """Returns the cut-out with its soft alpha, RGBA uint8 [h, w, 4]."""
    person = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(person, [np.int32(points.OUTLINE)], 255)
    # Eroded, or the photograph's pale wall shines through as a halo.
    person = cv2.erode(person, np.ones((3, 3), np.uint8), iterations=2)
    person = cv2.GaussianBlur(person, (0, 0), 1.2)
    image = _mix(helmet[..., :3], image, np.float32(person) / 255)
    alpha = np.maximum(person, helmet[..., 3])
    x0, y0, x1, y1 = points.CROP
    return np.ascontiguousarray(np.dstack([image, alpha])[y0:y1, x0:x1])


def _helmet(shape: tuple, gain: np.ndarray) -> np.ndarray:
    """Draws the open helmet behind the head, RGBA uint8 [H, W, 4].

    It fills the corners of a face crop. Without it they show the scene, and
    the face stream alone got 0.9 of the labels right instead of a half.
    """
    x, y = points.HELMET
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    radius = np.hypot(columns - x, rows - y) / points.HELMET_RADIUS
    rim = np.clip((radius - 0.9) * 25, 0, 1)
    light = np.clip((y - rows) / points.HELMET_RADIUS, -1, 1)
    grey = (72 + 20 * light) * (1 - rim) + (180 + 50 * light) * rim
    alpha = np.clip((1 - radius) * points.HELMET_RADIUS, 0, 1) * 255
    planes = [grey * k for k in gain] + [alpha]
    return np.clip(np.rint(np.dstack(planes)), 0, 255).astype(np.uint8)


def _proportions(rng) -> dict:
    """Returns the identity's own landmarks, by name, float64 [2]."""
    jaw, mouth, eyes, nose, low = rng.uniform(-1, 1, 5)
    build = {}
    for name, point in points.POINTS.items():
        x, y = point
        if name.startswith(("jaw", "cheek")):
            x += (x - points.CENTRE[0]) * 0.07 * jaw
        elif name.startswith(("corner", "lip", "in_")):
            x += (x - points.CENTRE[0]) * 0.1 * mouth
            y += 2.5 * low
        elif name.startswith(("eye", "brow")):
            x += np.sign(x - points.CENTRE[0]) * 2 * eyes
        elif name.startswith("nose"):
            y += 2 * nose
        build[name] = np.array([x, y], np.float64)
    return build


def _backward_map(build: dict, moves) -> np.ndarray:
    """Returns the texture's x, y for each pixel, float32 [h, w, 2].

    A thin-plate spline from the moved landmarks back to the photograph's
    (Bookstein, 1989).
    """
    source = np.array([*points.POINTS.values(), *points.FIXED], np.float64)
    target = np.array(
        [build[k] + moves.get(k, (0, 0)) for k in points.POINTS]
        + [*points.FIXED]
    )
    n = len(source)
    # In units of 100 pixels, which keeps float32 exact to 1e-3 pixels.
    knots = target / 100
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = _plate(knots[:, None] - knots[None])
    system[:n, n:] = np.column_stack([np.ones(n), knots])
    system[n:, :n] = system[:n, n:].T
    right = np.vstack([source - target, np.zeros((3, 2))])
    weights = np.linalg.solve(system, right).astype(np.float32)

    x0, y0, x1, y1 = points.CROP
    # Every second pixel, then linear between: a quarter of the logarithms.
    x, y = np.meshgrid(
        np.arange(x0, x1, 2, dtype=np.float32),
        np.arange(y0, y1, 2, dtype=np.float32),
    )
    at = np.stack([x, y], -1) / 100
    bend = _plate(at[:, :, None] - knots.astype(np.float32))
    moved = bend @ weights[:n] + (weights[n] + at @ weights[n + 1 :])
    # A spline bends everything a little: fade it out beyond the face, or the
    # collar's place gives the expression away.
    reach = np.hypot(*np.moveaxis((at * 100 - points.CENTRE) / (78, 92), -1, 0))
    moved *= np.clip((1.0 - reach) / 0.25, 0, 1)[..., None]
    moved += at * 100 - np.float32((x0, y0))
    return cv2.warpAffine(
        moved,
        np.float32([[0.5, 0, 0], [0, 0.5, 0]]),
        (x1 - x0, y1 - y0),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _plate(offsets: np.ndarray) -> np.ndarray:
    """Returns r^2 log r^2 of offsets [..., 2], 0 where r is 0."""
    square = offsets[..., 0] ** 2 + offsets[..., 1] ** 2
    return square * np.log(square + 1e-12)
