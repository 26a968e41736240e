"""The crops of a clip, and their coding."""

import cv2
import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from emorec.data import records
from emorec.video import clip as clips

# A picture of 60 rows and 100 columns in which every pixel differs.
RAMP = np.arange(60 * 100 * 3, dtype=np.uint32).reshape(60, 100, 3)
RAMP = (RAMP * 2654435761 >> 24).astype(np.uint8)


def sampling_of(data) -> list[int]:
    """Reads the sampling factors of each component out of a JPEG (SOF)."""
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    count = data[at + 9]
    return [data[at + 11 + 3 * i] for i in range(count)]


def test_crops_are_coded_without_chroma_loss():
    data = clips.encode_jpeg(RAMP, 95)
    assert data[:2] == b"\xff\xd8"
    assert sampling_of(data) == [0x11, 0x11, 0x11]
    # The parser tells 4:2:0 from it.
    _, other = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))
    assert sampling_of(other.tobytes()) == [0x22, 0x11, 0x11]


def test_colours_survive():
    # Red and blue columns in turn: 4:2:0 would blur them to purple.
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, ::2, 0] = 255
    image[:, 1::2, 2] = 255
    found = records.decode_jpeg(
        tf.constant(clips.encode_jpeg(image, 95)), 32
    ).numpy()
    assert np.abs(found.astype(int) - image).max() < 40
    assert found[:, ::2, 0].min() > 220 and found[:, ::2, 2].max() < 40


def test_quality_is_the_configs():
    image = skimage.data.astronaut()[:128, :128]
    sizes = [len(clips.encode_jpeg(image, q)) for q in (30, 70, 95)]
    assert sizes == sorted(sizes) and sizes[2] > 2 * sizes[0]


def padded(image, by) -> np.ndarray:
    return np.pad(image, ((by, by), (by, by), (0, 0)), mode="edge")


@pytest.mark.parametrize(
    "box",
    [
        (30, 20, 50, 40),
        (-10, 20, 10, 40),
        (90, 20, 110, 40),
        (30, -15, 50, 5),
        (30, 50, 50, 70),
        (-10, -10, 10, 10),
        (95, 55, 115, 75),
        (-40, 20, -20, 40),
        (130, 90, 150, 110),
        (20, -40, 120, 60),
    ],
)
def test_a_face_crop_repeats_the_border_outside_the_frame(box):
    found = clips.face_crop(RAMP, np.array(box, np.float32), 20, 0.0)
    far = 200
    side = box[2] - box[0]
    wanted = padded(RAMP, far)[
        far + box[1] : far + box[3], far + box[0] : far + box[2]
    ]
    assert wanted.shape == (side, side, 3)
    if side == 20:
        np.testing.assert_array_equal(found, wanted)
    else:
        assert found.shape == (20, 20, 3)
        smaller = cv2.resize(wanted, (20, 20), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(found, smaller)


def test_a_face_crop_is_the_square_of_the_longer_side():
    # 10 wide and 20 high, around (45, 30); the margin adds 5 on each side.
    found = clips.face_crop(RAMP, np.float32([40, 20, 50, 40]), 20, 0.0)
    np.testing.assert_array_equal(found, RAMP[20:40, 35:55])
    found = clips.face_crop(RAMP, np.float32([40, 20, 50, 40]), 30, 0.25)
    np.testing.assert_array_equal(found, RAMP[15:45, 30:60])


def test_a_face_crop_larger_than_the_frame():
    found = clips.face_crop(RAMP, np.float32([-50, -50, 150, 150]), 200, 0.0)
    np.testing.assert_array_equal(found[50:110, 50:150], RAMP)
    np.testing.assert_array_equal(found[0, 50:150], RAMP[0])


def test_a_face_of_no_size_is_one_pixel():
    found = clips.face_crop(RAMP, np.float32([5, 5, 5, 5]), 4, 0.1)
    assert (found == found[0, 0]).all()


@pytest.mark.parametrize("turned", [False, True])
def test_a_context_crop_is_the_middle_square(turned):
    image = RAMP.swapaxes(0, 1) if turned else RAMP
    found = clips.context_crop(np.ascontiguousarray(image), 60)
    middle = RAMP[:, 20:80]
    np.testing.assert_array_equal(
        found, middle.swapaxes(0, 1) if turned else middle
    )
    assert clips.context_crop(image.copy(), 24).shape == (24, 24, 3)
    assert clips.context_crop(image.copy(), 90).shape == (90, 90, 3)
