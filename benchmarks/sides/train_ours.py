"""Training steps of CACA-RNN A on cached features, and their arithmetic."""

from collections.abc import Callable

FACE, CONTEXT, CLASSES = 2048, 512, 8


def prepare(args: dict) -> Callable[[], dict]:
    """Compiles the step of the training loop.

    Args:
        args: `steps` (T), `batch`, `count` (steps of a run), and `unit`:
            `clips` or `operations` (floating point, in 1e9).
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from emorec.config import ModelConfig, TrainConfig
    from emorec.models import presets
    from emorec.training import steps

    keras.utils.set_random_seed(0)
    shapes = {"face_features": (FACE,), "context_features": (CONTEXT,)}
    model = presets.build(ModelConfig(system="caca_rnn_a"), shapes, CLASSES)
    rng = np.random.default_rng(0)
    length, batch = args["steps"], args["batch"]
    inputs = {
        name: tf.constant(rng.random((batch, length, *shape), np.float32))
        for name, shape in shapes.items()
    }
    inputs["mask"] = tf.ones((batch, length), tf.bool)
    labels = tf.constant(rng.integers(0, CLASSES, batch))
    spec = (
        {
            name: tf.TensorSpec((None, None, *x.shape[2:]), x.dtype)
            for name, x in inputs.items()
        },
        tf.TensorSpec((None,), labels.dtype),
    )
    made = steps.Steps(
        model,
        TrainConfig(),
        np.ones(CLASSES, np.float32),
        spec,
        tf.distribute.get_strategy(),
    )
    made.train(inputs, labels)
    operations = operations_of(model, length)
    clips = args["count"] * batch
    units = clips
    if args.get("unit") == "operations":
        units = clips * operations["needed"] / 1e9

    def run() -> dict:
        for _ in range(args["count"]):
            made.train(inputs, labels)
        return {
            "units": units,
            "detail": {
                "parameters": model.count_params(),
                "operations_of_a_clip": operations,
            },
        }

    return run


def operations_of(model, length: int) -> dict:
    """Counts a clip's floating point operations, from the network's weights.

    Args:
        model: A cascade of two streams.
        length: T.

    Returns:
        `forward`; `needed` by a training step, which is three times as many
        without the gradients of the features, that nobody needs; and
        `three_times_forward`, the usual rule of thumb.
    """
    forward = inputs = 0
    for variable in model.trainable_variables:
        if len(variable.shape) < 2:
            continue
        rows, columns = variable.shape
        once = "logits" in variable.path
        found = 2 * rows * columns * (1 if once else length)
        forward += found
        # The first layer of a stream.
        inputs += found if "encoder" in variable.path else 0
        if "attention_kernel" in variable.path:
            # Scores and context vectors: T x T dot products each.
            forward += 4 * length * length * rows
    return {
        "forward": forward,
        "needed": 3 * forward - inputs,
        "three_times_forward": 3 * forward,
    }
