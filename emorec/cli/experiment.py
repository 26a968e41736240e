"""emorec experiment: train and measure several systems over several seeds.

  emorec experiment --data_dir=data --systems=all --seeds=5 --output_dir=out

Trains each system with the seeds 0, 1, ... and measures it on the validation
and test splits. Writes results.md, results.csv and results.json (medians over
the seeds, with the least and the greatest), confusion matrices and training
curves as PNG, and below OUTPUT/runs each model with its config, seed and
metrics in run.json.

The same command again goes on after a kill: finished runs are kept, one that
was cut off goes on from its last epoch. A run that fails does not stop the
others; the exit code is then 1. A system that the chosen encoders do not
allow is named as not possible; the exit code is 1 only if it was asked for by
its id.
"""

import dataclasses
import os
import sys
import time

from absl import flags

from emorec.cli import encoder_flags, options
from emorec.errors import ConfigError, TrainingError, UsageError

FLAGS = flags.FlagValues()
_MAX_WORKERS = 8
_SPLITS = ("validation", "test")
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
    "Where runs and results go.",
    required=True,
    flag_values=FLAGS,
)
_SYSTEMS = flags.DEFINE_string(
    "systems",
    "all",
    "all, or ids with commas between them; `emorec models` lists them. A "
    "cascade with a part cut is SYSTEM.no_attention or SYSTEM.no_seeding.",
    flag_values=FLAGS,
)
_ABLATIONS = flags.DEFINE_bool(
    "ablations",
    False,
    "Also each cascade without its attention, and without its seeding.",
    flag_values=FLAGS,
)
_SEEDS = flags.DEFINE_integer(
    "seeds",
    5,
    "How many seeds: 0, 1, ...",
    lower_bound=1,
    upper_bound=1000,
    flag_values=FLAGS,
)
_MEMBERS = flags.DEFINE_list(
    "members",
    None,
    "Of the ensemble: ids of systems (default: those of the paper, "
    "caca_rnn_mec2017 and cnn_2d3d). Those among --systems are trained once.",
    flag_values=FLAGS,
)
_SPLIT_NAMES = flags.DEFINE_list(
    "splits",
    None,
    "The splits to measure (default: those of validation and test that have "
    "labels).",
    flag_values=FLAGS,
)
_WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Processes (default: half of the cores, 1 to 8).",
    lower_bound=1,
    upper_bound=256,
    flag_values=FLAGS,
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Throw away earlier runs of these systems and seeds in the folder.",
    flag_values=FLAGS,
)
_ENCODERS = encoder_flags.define_names(FLAGS)
_WEIGHTS = encoder_flags.define_weights(FLAGS)
_SET = options.define_set(FLAGS)
_QUIET = options.define_quiet(FLAGS)


def main(args: list[str]) -> int:
    options.no_arguments(args)

    from emorec.data import dataset
    from emorec.evaluation import (
        charts,
        experiment_report,
        experiment_tables,
    )
    from emorec.training import experiment

    charts.require()
    data = dataset.load(_DATA_DIR.value)
    with options.output_dir(_OUTPUT_DIR.value):
        plan = _plan(data)
        try:
            found = experiment.run(plan, _progress(), _on_features())
        except KeyboardInterrupt:
            print("run the same command again to go on", flush=True)
            raise
        rows = experiment_report.write(found)
    for split in plan.splits:
        print(experiment_tables.format_table(rows, split), end="\n\n")
    for text in experiment_tables.warnings(found.about):
        print(text)
    for row in rows:
        for note in row.notes:
            print(f"{row.id}: {note}")
        if row.reason:
            print(f"{row.id} is not possible: {row.reason}")
    print(f"{_OUTPUT_DIR.value}: results.md, .csv and .json, charts, runs")
    return _verdict(found)


def _plan(data):
    """Returns the `experiment.Plan` that the flags ask for."""
    from emorec.training import (
        experiment,
        experiment_plan,
        experiment_run,
        train,
    )

    variants = experiment.variants(_SYSTEMS.value, _ABLATIONS.value)
    if _MEMBERS.value is not None and all(
        v.system != "ensemble" for v in variants
    ):
        raise UsageError(
            "--members is for the system ensemble. Received: --systems="
            f"{_SYSTEMS.value}"
        )
    members = experiment_plan.Plan.members
    if _MEMBERS.value is not None:
        members = tuple(_MEMBERS.value)
    experiment_plan.check_members(members)
    assignments = tuple(encoder_flags.assignments(_ENCODERS, _SET.value))
    plan = experiment.Plan(
        data_dir=_DATA_DIR.value,
        output_dir=_OUTPUT_DIR.value,
        variants=variants,
        seeds=_SEEDS.value,
        assignments=assignments,
        make_encoders=None,
        splits=_splits(data),
        workers=_workers(),
        members=members,
        overwrite=_OVERWRITE.value,
    )
    # Before the encoders, which may have to be downloaded.
    experiment_plan.check(plan, data)
    encoders = encoder_flags.create(
        _WEIGHTS,
        train.training_config(data, "majority", list(assignments)),
        experiment_plan.inputs_of(variants, members),
        data.path,
    )
    make = experiment_run.keep(
        encoders, os.path.join(_OUTPUT_DIR.value, "encoders")
    )
    return dataclasses.replace(plan, make_encoders=make)


def _splits(data) -> tuple[str, ...]:
    if _SPLIT_NAMES.value is not None:
        return tuple(dict.fromkeys(_SPLIT_NAMES.value))
    found = tuple(
        split
        for split in _SPLITS
        if any(data.splits.get(split, {}).get("labels", {}).values())
    )
    if not found:
        raise ConfigError(
            f"{data.path}: neither {' nor '.join(_SPLITS)} has a label, so "
            "that nothing can be measured; name other splits by --splits"
        )
    return found


def _workers() -> int:
    cores = os.cpu_count() or 1
    return _WORKERS.value or min(max(cores // 2, 1), _MAX_WORKERS)


def _on_features():
    """A bar for each split whose features are computed."""
    bars = {}

    def update(split, done, total):
        if split not in bars:
            bars[split] = options.progress_bar(
                f"features of {split}", "shards", _QUIET.value
            )
        bars[split](done, total)

    return update


def _progress():
    """A bar with the time to go on a terminal, else a line for each run."""
    started, kept, bar = 0.0, 0, None

    def update(done, total, record):
        nonlocal started, kept, bar
        if record is None:
            started, kept = time.monotonic(), done
            if kept and not _QUIET.value:
                print(f"{kept} of {total} runs are finished", flush=True)
            if sys.stderr.isatty() and kept < total:
                bar = options.progress_bar("experiment", "runs", _QUIET.value)
        if bar is not None:
            # Of what is to do: finished runs would make it look fast.
            bar(done - kept, total - kept)
        elif record is not None and not _QUIET.value:
            passed = time.monotonic() - started
            left = passed / (done - kept) * (total - done)
            print(f"[{done}/{total}] {_line(record, left)}", flush=True)

    return update


def _line(record, left: float) -> str:
    text = f"{record.variant}, seed {record.seed}: "
    if record.error:
        return f"{text}{record.status}: {record.error}"
    for split, metrics in record.metrics.items():
        text += (
            f"{split} MAP {100 * metrics['map']:.2f} %, "
            f"ACC {100 * metrics['acc']:.2f} %; "
        )
    text += f"{record.seconds:.0f} s"
    return f"{text}, about {_duration(left)} to go" if left else text


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else (f"{minutes} min")
    )


def _verdict(found) -> int:
    """Returns 0, or fails with what did not work, after all is written."""
    failed = found.with_status("failed")
    if failed:
        first = failed[0]
        raise TrainingError(
            f"{len(failed)} of {len(found.records)} runs failed, the first: "
            f"{first.variant} with seed {first.seed}: {first.error}"
        )
    named = list(map(str.strip, _SYSTEMS.value.split(",")))
    for record in found.with_status("not possible"):
        if record.variant in named:
            raise ConfigError(
                f"{record.variant} is not possible: {record.error}"
            )
    return 0
