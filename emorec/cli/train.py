"""emorec train: TFRecords of frames to a trained model.

  emorec train --data_dir=data --system=caca_rnn_a --output_dir=model

The frozen CNNs' features are computed once and kept beside the records. A run
that was stopped goes on from its last epoch.
"""

from absl import flags

from emorec.cli import options

FLAGS = flags.FlagValues()
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "A data set of `emorec prepare`.",
    required=True,
    flag_values=FLAGS,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "The model folder to be.",
    required=True,
    flag_values=FLAGS,
)
_SYSTEM = flags.DEFINE_string(
    "system",
    "caca_rnn_a",
    "The system's id; `emorec models` lists them.",
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed",
    0,
    "Of initialisation, shuffling, sampling and dropout.",
    lower_bound=0,
    upper_bound=2**31 - 1,
    flag_values=FLAGS,
)
_FACE_WEIGHTS = flags.DEFINE_string(
    "face_weights",
    None,
    "The face encoder's weight file, or its folder.",
    flag_values=FLAGS,
)
_CONTEXT_WEIGHTS = flags.DEFINE_string(
    "context_weights",
    None,
    "The context encoder's weight file, or its folder.",
    flag_values=FLAGS,
)
_MISSING = flags.DEFINE_enum(
    "missing_weights",
    "error",
    ["error", "random"],
    "What to do where an encoder's published weights cannot be had; random "
    "is for trying the software out, and is said wherever results are shown.",
    flag_values=FLAGS,
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Throw away an earlier model or run in the folder.",
    flag_values=FLAGS,
)
_SET = options.define_set(FLAGS)
_QUIET = options.define_quiet(FLAGS)


def main(args: list[str]) -> int:
    options.no_arguments(args)

    from emorec.data import dataset
    from emorec.features import encoder
    from emorec.features.extract import Encoders
    from emorec.training import train

    data = dataset.load(_DATA_DIR.value)
    config = train.training_config(data, _SYSTEM.value, _SET.value)
    encoders = Encoders(
        *(
            encoder.create(
                name,
                path,
                allow_random=_MISSING.value == "random",
                crop_size=config.clip.crop_size,
            )
            for name, path in (
                (config.features.face_encoder, _FACE_WEIGHTS.value),
                (config.features.context_encoder, _CONTEXT_WEIGHTS.value),
            )
        )
    )
    options.announce_random(encoders.random_weights)
    bars = {}

    def on_features(split, done, total):
        if split not in bars:
            bars[split] = options.progress_bar(
                f"features of {split}", "shards", _QUIET.value
            )
        bars[split](done, total)

    def on_epoch(epoch, figures):
        if not _QUIET.value:
            text = "  ".join(f"{k} {v:.4f}" for k, v in figures.items())
            print(f"epoch {epoch + 1:>3}  {text}", flush=True)

    made = train.train(
        data,
        _OUTPUT_DIR.value,
        config,
        encoders,
        seed=_SEED.value,
        overwrite=_OVERWRITE.value,
        on_features=on_features,
        on_epoch=on_epoch,
    )
    best = made.info["best"]
    name = "val_loss" if "val_loss" in best else "loss"
    print(
        f"{made.system}: {made.model.count_params():,} parameters, best epoch "
        f"{made.info['best_epoch'] + 1} of {made.info['epochs']} "
        f"({name} {best[name]:.4f})"
    )
    if name == "loss":
        print("no validation clips: the training loss chose the epoch")
    return 0
