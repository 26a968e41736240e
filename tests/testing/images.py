"""Makes small images, folders of them and CSVs in the form of FER2013."""

import pathlib

import cv2
import numpy as np


def picture(seed=0, height=20, width=20) -> np.ndarray:
    """Smooth uint8 [H, W, 3] BGR, so that JPEG hardly changes it."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (3, 3, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def write(path: pathlib.Path, image=None) -> pathlib.Path:
    """Writes an image; the name's ending chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = picture() if image is None else image
    assert cv2.imwrite(str(path), image)
    return path


def folder(root: pathlib.Path, counts: dict, suffix=".png") -> pathlib.Path:
    """Writes `{class: images}`; every image is another."""
    seed = 0
    for label, count in counts.items():
        for i in range(count):
            write(root / label / f"{i:03d}{suffix}", picture(seed))
            seed += 1
    return root


def face(kind: int, seed: int, size: int = 48) -> np.ndarray:
    """Draws uint8 [size, size, 3] BGR: a disc with one of three mouths."""
    rng = np.random.default_rng([kind, seed])
    image = np.full((64, 64, 3), rng.integers(60, 200, 3), np.uint8)
    skin = tuple(int(v) for v in rng.integers(120, 230, 3))
    cv2.ellipse(image, (32, 32), (24, 30), 0, 0, 360, skin, -1)
    dark = (20, 20, 30)
    for x in (22, 42):
        cv2.circle(image, (x, 24), 3, dark, -1)
    if kind == 0:
        cv2.ellipse(image, (32, 40), (13, 9), 0, 10, 170, dark, 3)
    elif kind == 1:
        cv2.ellipse(image, (32, 54), (13, 9), 0, 190, 350, dark, 3)
    else:
        cv2.circle(image, (32, 47), 8, dark, -1)
    noise = rng.normal(0, 6, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def faces(root: pathlib.Path, count: int) -> pathlib.Path:
    """Writes `count` faces of each of three classes that can be told apart."""
    for kind, label in enumerate(("happy", "sad", "surprise")):
        for i in range(count):
            write(root / label / f"{i:03d}.png", face(kind, i))
    return root


def line(label=0, usage="Training", seed=0, count=48 * 48) -> str:
    """Returns a line of FER2013's CSV."""
    rng = np.random.default_rng([seed, abs(label)])
    values = rng.integers(0, 256, count)
    return f"{label},{' '.join(map(str, values))},{usage}"


def sound() -> list[str]:
    """Two training images a class and one of each other split."""
    usages = ["Training", "Training", "PublicTest", "PrivateTest"]
    return [
        line(label, usage, seed)
        for label in range(7)
        for seed, usage in enumerate(usages)
    ]


def sheet(
    path: pathlib.Path, lines: list[str], header="emotion,pixels,Usage"
) -> pathlib.Path:
    """Writes a CSV of a header and lines."""
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path
