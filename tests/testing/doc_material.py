"""What the reader of a page has already: clips, label files, requests."""

import base64
import csv
import json
import pathlib
import shutil

import av
import cv2
import keras

from testing import images, pem_files

# README's rows of a made-up folder: label files in three forms.
SMALL = {
    "train.csv": (
        "文件名,标签,备注\n1.mp4,高兴,\n2.mp4,愤怒,\n3.mp4,担心,夜\n"
        "4.mp4,中性,\n"
    ),
    "val.txt": "5.mp4 sad\n6.mp4 happy\n",
    "test.txt": "7.mp4\n8.mp4\n",
}


def write(folder: pathlib.Path) -> dict:
    """Adds it to the tutorial's folder.

    Returns:
        The names that a page's first Python block finds.
    """
    clips = folder / "clips"
    videos = sorted((clips / "videos").glob("*.mp4"))
    shutil.copy(videos[0], folder / "clip.mp4")
    _cheavd(clips, folder / "CHEAVD")
    _small(videos, folder / "C")
    images.faces(folder / "faces", 20)
    _lambda(folder / "m.keras")
    pem_files.write(folder)
    frames, times = _frames(videos[0])
    text = [{"b64": base64.b64encode(f).decode()} for f in frames]
    inputs = {"frames": [text], "times": [times]}
    (folder / "video.json").write_text(
        json.dumps({"signature_name": "video", "inputs": inputs})
    )
    return {
        "frame_jpegs": frames,
        "times": times,
        "token": "a-token",
        "requests": [{"face": [frames], "context": [frames]}] * 2,
    }


def _cheavd(clips: pathlib.Path, folder: pathlib.Path):
    """CHEAVD's layout as it is assumed: clips and a label file a split."""
    with open(clips / "manifest.csv", newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    for split, name in (("train", "train"), ("validation", "val")):
        lines = ["文件名,标签"]
        (folder / name).mkdir(parents=True)
        for row in (r for r in rows if r["split"] == split):
            video = clips / row["video"]
            shutil.copy(video, folder / name)
            lines.append(f"{video.name},{row['label']}")
        text = "\n".join(lines) + "\n"
        (folder / f"{name}.csv").write_text(text, encoding="gb18030")


def _small(videos, folder: pathlib.Path):
    for number, video in enumerate(videos[:8], start=1):
        split = "train" if number < 5 else "val" if number < 7 else "test"
        (folder / split).mkdir(parents=True, exist_ok=True)
        shutil.copy(video, folder / split / f"{number}.mp4")
    for name, text in SMALL.items():
        (folder / name).write_text(text, encoding="gb18030")


def _lambda(path: pathlib.Path):
    """A Keras file that could run code, which is refused."""
    keras.Sequential(
        [
            keras.layers.Input((8, 8, 3)),
            keras.layers.Lambda(lambda x: x),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    ).save(path)


def _frames(path: pathlib.Path) -> tuple[list[bytes], list[float]]:
    """JPEGs and seconds of every second frame."""
    with av.open(str(path)) as video:
        frames = [
            (f.to_ndarray(format="bgr24"), f.time)
            for f in video.decode(video=0)
        ][::2]
    jpegs = [cv2.imencode(".jpg", pixels)[1].tobytes() for pixels, _ in frames]
    return jpegs, [time for _, time in frames]
