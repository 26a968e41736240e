"""A run's state on disk."""

import pathlib

import keras
import numpy as np
import pytest

from emorec.errors import EmorecError, TrainingError
from emorec.training import checkpoint


def variables(value=0.0):
    return [
        keras.Variable(np.full((2, 3), value, np.float32)),
        keras.Variable(np.full((2,), value), dtype="uint32"),
    ]


def progress() -> checkpoint.Progress:
    return checkpoint.Progress(
        "run",
        epoch=2,
        best=0.25,
        best_epoch=1,
        history=[{"loss": 0.5}, {"loss": 0.25}],
        best_weights=[np.arange(3.0, dtype=np.float32), np.uint32([7])],
    )


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    checkpoint.save(tmp_path / "checkpoints", progress(), variables(5))
    return tmp_path / "checkpoints"


def test_round_trip(folder):
    found = variables()
    restored = checkpoint.restore(folder, "run", found)
    np.testing.assert_array_equal(found[0], np.full((2, 3), 5.0))
    np.testing.assert_array_equal(found[1], [5, 5])
    wanted = progress()
    for a, b in zip(restored.best_weights, wanted.best_weights, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    restored.best_weights = wanted.best_weights = []
    assert restored == wanted
    assert [p.name for p in folder.iterdir()] == [checkpoint.FILE]


def test_without_a_checkpoint_a_run_begins(tmp_path):
    found = variables(3)
    started = checkpoint.restore(tmp_path, "run", found)
    assert started == checkpoint.Progress("run")
    assert started.best == float("inf")
    np.testing.assert_array_equal(found[1], [3, 3])
    # An infinite best loss can be stored too.
    checkpoint.save(tmp_path, started, found)
    assert checkpoint.restore(tmp_path, "run", found) == started


@pytest.mark.parametrize("run, count", [("other", 2), ("run", 1)])
def test_a_checkpoint_of_another_run_is_refused(folder, run, count):
    found = variables()[:count]
    with pytest.raises(TrainingError) as e:
        checkpoint.restore(folder, run, found)
    assert str(e.value) == (
        f"{folder}: holds a run with another config, data set or seed; "
        "choose another --output_dir, or give --overwrite"
    )
    assert not np.any(found[0])


def flipped(data: bytes) -> bytes:
    at = data.index(b"\x93NUMPY", 500) + 130  # In the values of an array.
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-10],
        lambda data: b"something else",
        lambda data: data[data.index(b"\x93NUMPY") :][:300],
        flipped,
    ],
    ids=["empty", "half", "cut", "foreign", "npy", "flipped"],
)
def test_a_damaged_checkpoint_is_named(folder, damage):
    path = folder / checkpoint.FILE
    path.write_bytes(damage(path.read_bytes()))
    found = variables()
    with pytest.raises(TrainingError) as e:
        checkpoint.restore(folder, "run", found)
    message = str(e.value)
    assert message.startswith(f"{path}: cannot be read (")
    assert message.endswith("); give --overwrite to start again")
    assert "\n" not in message
    assert not np.any(found[0])


def test_a_checkpoint_that_cannot_be_written_leaves_the_last(folder):
    class Full:
        """Stands for a variable whose bytes no longer fit on the disk."""

        def __array__(self, *_, **__):
            raise OSError(28, "No space left on device")

    path = folder / checkpoint.FILE
    before = path.read_bytes()
    after = progress()
    after.best_weights = []
    with pytest.raises((EmorecError, OSError)):
        checkpoint.save(folder, after, [Full()])
    assert path.read_bytes() == before
    assert [p.name for p in folder.iterdir()] == [checkpoint.FILE]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(EmorecError) as e:
        checkpoint.save(tmp_path / "checkpoints", progress(), variables())
    assert str(e.value) == (
        f"{tmp_path}/checkpoints/{checkpoint.FILE}: cannot be written (File "
        "exists); free some space or choose another place"
    )


def test_a_full_disk_is_one_line_and_leaves_the_last(folder, full_disk):
    path = folder / checkpoint.FILE
    before = path.read_bytes()
    with full_disk(1000):
        with pytest.raises(EmorecError) as e:
            checkpoint.save(folder, progress(), variables(6))
        message = str(e.value)
        # Its frames would keep what complains when it is thrown away.
        del e
    assert message == (
        f"{path}: cannot be written (File too large); free some space or "
        "choose another place"
    )
    assert path.read_bytes() == before
    assert [p.name for p in folder.iterdir()] == [checkpoint.FILE]
