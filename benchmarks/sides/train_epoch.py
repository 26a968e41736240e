"""An epoch of training from records of features: reading, and both."""

from collections.abc import Callable

FACE, CONTEXT, CLASSES = 2048, 512, 8


def prepare(args: dict) -> Callable[[], dict]:
    """Writes records of features.

    Args:
        args: `folder`, `clips`, `steps` (T), `batch`, and `train`: whether
            each batch is trained on; else it is only read.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from emorec.config import Config
    from emorec.data import input_pipeline
    from emorec.models import presets
    from emorec.training import steps

    keras.utils.set_random_seed(0)
    config = Config().override(
        [
            f"train.batch_size={args['batch']}",
            f"clip.clip_frames={args['steps']}",
            "model.system=caca_rnn_a",
        ]
    )
    sources = [_records(args, config)]
    model = presets.build(config.model, sources[0].holds, CLASSES)

    def data(epoch):
        return input_pipeline.training_epoch(sources, config, 0, epoch)

    made = steps.Steps(
        model,
        config.train,
        np.ones(CLASSES, np.float32),
        data(0).element_spec,
        tf.distribute.get_strategy(),
    )
    epoch = 0

    def run() -> dict:
        nonlocal epoch
        epoch += 1
        clips = 0
        for inputs, labels in data(epoch):
            if args["train"]:
                made.train(inputs, labels)
            clips += int(labels.shape[0])
        return {"units": clips}

    return run


def _records(args, config):
    import pathlib

    import numpy as np
    import tensorflow as tf

    from emorec.data import keys, records
    from emorec.data.feature_files import FeatureFiles

    # Long enough for each phase to fill a clip.
    count = args["steps"] * 5 // 4 * config.data.train_phases
    shapes = {"face_features": (FACE,), "context_features": (CONTEXT,)}
    path = pathlib.Path(args["folder"]) / (
        f"features-{args['clips']}-{args['steps']}.tfrecord"
    )
    rng = np.random.default_rng(0)
    rate = config.video.fps * config.data.train_phases

    def floats(values):
        return tf.train.Feature(
            float_list=tf.train.FloatList(value=np.float32(values).reshape(-1))
        )

    def ints(value):
        return tf.train.Feature(
            int64_list=tf.train.Int64List(value=[int(value)])
        )

    def text(value):
        return tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[value.encode()])
        )

    def examples():
        for i in range(args["clips"]):
            features = {
                keys.CLIP_ID: text(f"clip {i}"),
                keys.CLIP_SOURCE: text(""),
                keys.CLIP_START: floats([0.0]),
                keys.CLIP_LABEL_ID: ints(i % CLASSES),
                keys.FRAMES_WITH_FACE: ints(count),
                keys.FRAME_TIME: floats(np.arange(count) / rate),
            }
            for name, shape in shapes.items():
                features[keys.feature_key(name)] = floats(
                    rng.random((count, *shape), np.float32)
                )
            yield tf.train.Example(features=tf.train.Features(feature=features))

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        records.write(path, examples())
    return FeatureFiles(shapes, (str(path),))
