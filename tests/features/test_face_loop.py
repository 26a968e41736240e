"""The training loop of a face classifier: batches, changes, when to stop."""

import re

import keras
import numpy as np
import pytest
from keras import layers

from emorec.config import FaceTrainConfig
from emorec.errors import TrainingError
from emorec.features import face_loop
from emorec.features.face_images import FaceImages
from emorec.labels import LabelSet


def images(train=(6, 2), validation=(2, 2), channels=3, side=8) -> FaceImages:
    """Images of two classes; each shows its own number."""
    labels = [0] * train[0] + [1] * train[1]
    labels += [0] * validation[0] + [1] * validation[1]
    count, held = len(labels), sum(validation)
    numbers = np.arange(count, dtype=np.uint8)
    shape = (count, side, side, channels)
    return FaceImages(
        labels=LabelSet("test", ("a", "b")),
        pixels=np.broadcast_to(numbers[:, None, None, None], shape),
        label_ids=np.array(labels),
        names=[f"{i}.png" for i in range(count)],
        rows={
            "train": np.arange(count - held),
            "validation": np.arange(count - held, count),
        },
        drawn=True,
        left_out=[],
        ignored=0,
        copies=0,
        fingerprint="",
    )


def settings(**changes) -> FaceTrainConfig:
    plain = {
        "flip": False,
        "rotation": 0.0,
        "zoom": 0.0,
        "shift": 0.0,
        "brightness": 0.0,
        "batch_size": 3,
    }
    return FaceTrainConfig(**{**plain, **changes})


def network(side=8) -> keras.Model:
    image = keras.Input((side, side, 3))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(image))
    return keras.Model(image, layers.Dense(2, "softmax")(x))


def shown(batch) -> list[int]:
    """The numbers that a batch's images show."""
    return batch[0][:, 0, 0, 0].astype(int).tolist()


def test_an_epoch_is_full_batches_in_its_own_order():
    batches = face_loop.Batches(images(), settings(), 5)
    assert batches.steps == 2
    epochs = [[shown(b) for b in batches.training(e)] for e in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    assert [len(b) for b in epochs[0]] == [3, 3]
    assert len(set(epochs[0][0] + epochs[0][1])) == 6
    other = face_loop.Batches(images(), settings(), 6)
    assert [shown(b) for b in other.training(0)] != epochs[0]


def test_fewer_images_than_a_batch_are_one():
    batches = face_loop.Batches(images(), settings(batch_size=64), 0)
    assert batches.steps == 1
    (only,) = batches.training(0)
    assert sorted(shown(only)) == list(range(8))


def test_answers_are_asked_of_every_image_in_order():
    batches = face_loop.Batches(images(), settings(), 0)
    assert [shown(b) for b in batches.of("validation")] == [[8, 9, 10], [11]]


def test_classes_weigh_the_same_together():
    batches = face_loop.Batches(images(), settings(), 0)
    labels, weights = batches.targets("train")
    assert labels.tolist() == [0] * 6 + [1] * 2
    np.testing.assert_allclose(weights, [2 / 3] * 6 + [2.0] * 2, rtol=1e-6)
    assert weights.dtype == np.float32
    off = face_loop.Batches(images(), settings(class_weights=False), 0)
    assert off.targets("train")[1].tolist() == [1] * 8


def test_augmentation_is_of_training_alone():
    chosen = FaceTrainConfig()
    made = face_loop.augmentation(chosen)
    assert len(made) == 5
    assert face_loop.augmentation(settings()) == []
    rng = np.random.default_rng(0)
    # So many that one of them is mirrored.
    pixels = rng.uniform(0, 255, (64, 8, 8, 3)).astype(np.float32)
    for layer in made:
        changed = np.asarray(layer(pixels, training=True))
        assert changed.shape == pixels.shape, layer.name
        assert np.abs(changed - pixels).max() > 1, layer.name
        assert changed.min() >= 0 and changed.max() <= 255, layer.name
        np.testing.assert_allclose(
            layer(pixels, training=False), pixels, atol=1e-4
        )


def test_grey_images_of_another_size_are_fitted():
    model = network(side=8)
    trainer = face_loop.trainer(model, (4, 4, 1), settings())
    grey = np.full((2, 4, 4, 1), 100, np.float32)
    colour = np.full((2, 8, 8, 3), 100, np.float32)
    np.testing.assert_allclose(
        trainer.predict_on_batch(grey), model(colour), rtol=1e-5
    )


def scripted(monkeypatch, losses):
    """Lets each epoch do nothing but to have a loss and to leave a mark."""

    def epoch(trainer, batches, number):
        if losses[number] is None:
            raise FloatingPointError(f"the loss became nan at {number}")
        bias = trainer.layers[-1].layers[-1].bias
        bias.assign([number, number])
        return {"val_loss": losses[number]}

    monkeypatch.setattr(face_loop, "_epoch", epoch)


def fit(tmp_path, chosen):
    model = network()
    batches = face_loop.Batches(images(), chosen, 0)
    trainer = face_loop.trainer(model, (8, 8, 3), chosen)
    told = []
    history, best = face_loop.fit(
        model,
        trainer,
        batches,
        chosen,
        tmp_path / "best.weights.h5",
        lambda *seen: told.append(seen),
    )
    assert told == list(enumerate(history))
    return len(history), best, model.layers[-1].bias.numpy()[0]


@pytest.mark.parametrize(
    "losses, patience, expected",
    [
        ([4, 3, 2, 1], 2, (4, 3)),
        ([4, 3, 5, 6, 1], 2, (4, 1)),
        ([4, 3, 5, 2, 6, 7, 1], 2, (6, 3)),
        ([4, 5, 1], 0, (2, 0)),
        ([4, 4, 4, 4], 3, (4, 0)),
    ],
)
def test_it_stops_and_keeps_the_best(
    tmp_path, monkeypatch, losses, patience, expected
):
    scripted(monkeypatch, losses)
    chosen = settings(epochs=len(losses), patience=patience)
    epochs, best, mark = fit(tmp_path, chosen)
    assert (epochs, best) == expected
    assert mark == best
    assert [p.name for p in tmp_path.iterdir()] == ["best.weights.h5"]


def test_figures_are_means_over_the_images(tmp_path):
    chosen = settings(batch_size=4, learning_rate=1e-30)
    model, made = network(), images()
    batches = face_loop.Batches(made, chosen, 0)
    trainer = face_loop.trainer(model, (8, 8, 3), chosen)
    best_path = tmp_path / "best.weights.h5"
    chosen = settings(batch_size=4, epochs=1)
    (figures,), _ = face_loop.fit(model, trainer, batches, chosen, best_path)
    for split, prefix in (("train", ""), ("validation", "val_")):
        labels, weights = batches.targets(split)
        rows = made.rows[split]
        shares = model(np.float32(made.pixels[rows])).numpy()
        losses = -weights * np.log(shares[np.arange(len(rows)), labels])
        hits = shares.argmax(axis=1) == labels
        assert figures[f"{prefix}loss"] == pytest.approx(losses.mean())
        assert figures[f"{prefix}accuracy"] == pytest.approx(hits.mean())


def test_the_best_weights_outlive_a_loss_that_is_not_finite(
    tmp_path, monkeypatch
):
    scripted(monkeypatch, [2, 3, None])
    with pytest.raises(TrainingError) as e:
        fit(tmp_path, settings(epochs=9))
    assert str(e.value) == (
        "the loss became nan at 2; the weights of epoch 1, the best, are kept "
        f"in {tmp_path / 'best.weights.h5'}. Lower face_train.learning_rate "
        "and train again"
    )
    model = network()
    model.load_weights(tmp_path / "best.weights.h5")
    assert model.layers[-1].bias.numpy()[0] == 0


def test_a_loss_that_is_not_finite_stops(tmp_path):
    with pytest.raises(TrainingError) as e:
        fit(tmp_path, settings(epochs=4, learning_rate=1e38, batch_size=4))
    assert re.fullmatch(
        r"the loss became (nan|inf) at step 2 of epoch 1; no epoch was "
        r"finished, so nothing is kept. Lower face_train.learning_rate and "
        r"train again",
        str(e.value),
    )
    assert not list(tmp_path.iterdir())
