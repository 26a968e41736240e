r"""emorec train: TFRecords of frames to a trained model.

  emorec train --data_dir=data --system=caca_rnn_a --output_dir=model

The frozen CNNs' features are computed once and kept beside the records. A run
that was stopped goes on from its last epoch. An ensemble trains its members
first, or takes trained ones, and fits their weights on the validation split:

  emorec train --data_dir=data --system=ensemble --output_dir=both \
      --members=caca_rnn_a,cnn_2d3d

--base begins with the weights of a trained model of the same system, sizes,
labels and encoders; all else is as in a run without it:

  emorec train --data_dir=more_data --output_dir=next --base=model

Several GPUs train together. So do several machines that start the same command
on one file system, each with its TF_CONFIG: every one needs all the flags, the
first one writes. A batch (train.batch_size) is that of all devices together.
"""

from absl import flags

from emorec.cli import encoder_flags, options
from emorec.errors import UsageError

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
_MEMBERS = flags.DEFINE_list(
    "members",
    None,
    "Of --system=ensemble: ids of systems, which are trained in "
    "OUTPUT/members, or model folders (default: those of the paper, "
    "caca_rnn_mec2017 and cnn_2d3d).",
    flag_values=FLAGS,
)
_BASE = flags.DEFINE_string(
    "base",
    None,
    "A model folder: the run begins with its weights (a warm start).",
    flag_values=FLAGS,
)
_ENCODERS = encoder_flags.define_names(FLAGS)
_WEIGHTS = encoder_flags.define_weights(FLAGS)
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
    if _MEMBERS.value is not None and _SYSTEM.value != "ensemble":
        raise UsageError(
            f"--members is for --system=ensemble. Received: {_SYSTEM.value}"
        )
    if _BASE.value and _SYSTEM.value == "ensemble":
        raise UsageError(
            "--base is for a single system; give trained members of an "
            "ensemble by --members"
        )

    from emorec.data import dataset, processes
    from emorec.training import distribution, train

    processes.begin_training()
    data = dataset.load(_DATA_DIR.value)
    config = _config(data, _SYSTEM.value)
    # Before anything runs on TensorFlow: the machines of a cluster have to
    # join first.
    arguments = {**_arguments(), "strategy": distribution.choose()}
    members = ()
    if config.model.system == "ensemble":
        members, encoders = _obtain_members(data, arguments)
    else:
        from emorec.models import presets

        inputs = presets.inputs_of(config.model)
        encoders = encoder_flags.create(_WEIGHTS, config, inputs, data.path)
    made = train.train(
        data,
        _OUTPUT_DIR.value,
        config,
        encoders,
        members=members,
        base=_base(),
        **arguments,
    )
    _show(made)
    return 0


def _base():
    """Reads the model that the run begins with."""
    if not _BASE.value:
        return None
    from emorec.training import bundle

    return bundle.load(_BASE.value)


def _config(data, system):
    """The config of a system's run."""
    from emorec.training import train

    return train.training_config(
        data,
        system,
        encoder_flags.assignments(_ENCODERS, _SET.value),
    )


def _arguments() -> dict:
    """What the run, and each member's, is given."""
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

    return {
        "seed": _SEED.value,
        "overwrite": _OVERWRITE.value,
        "on_features": on_features,
        "on_epoch": on_epoch,
    }


def _obtain_members(data, arguments):
    """Trains or loads the members; returns them and their encoders."""
    from emorec.models import presets
    from emorec.training import members

    names = presets.PAPER_MEMBERS
    if _MEMBERS.value is not None:
        names = _MEMBERS.value
    configs = {n: _config(data, n) for n in names if n in presets.SYSTEMS}
    inputs = [i for c in configs.values() for i in presets.inputs_of(c.model)]
    encoders = encoder_flags.create(
        _WEIGHTS, _config(data, "ensemble"), inputs, data.path
    )
    made = members.obtain(
        names,
        data,
        _OUTPUT_DIR.value,
        configs.__getitem__,
        encoders,
        **arguments,
    )
    return made, members.encoders_of(made)


def _show(made):
    """Prints what was made."""
    info = made.info
    text = f"{made.system}: {made.model.count_params():,} parameters"
    for member in info.get("members", []):
        text += f"\n  {member['weight']:.4f} x {member['system']}"
    if info["epochs"]:
        name = "val_loss" if "val_loss" in info["best"] else "loss"
        text += (
            f", best epoch {info['best_epoch'] + 1} of {info['epochs']} "
            f"({name} {info['best'][name]:.4f})"
        )
        if name == "loss":
            text += "\nno validation clips: the training loss chose the epoch"
    calibration = info.get("calibration")
    if calibration:
        before, after = calibration["ece_before"], calibration["ece_after"]
        text += (
            f"\nconfidence: temperature {calibration['temperature']:.3g}, "
            f"fitted on {calibration['clips']} validation records; calibration "
            f"error {100 * before:.1f} % before, {100 * after:.1f} % after"
        )
    else:
        text += "\nno validation clips with faces: confidence not calibrated"
    print(text)
    for note in info["notes"]:
        print(f"note: {note}")
