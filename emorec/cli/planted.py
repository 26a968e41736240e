"""emorec planted: run the systems on a made-up task with a known solution.

  emorec planted --output_dir=planted

Two streams of made-up features, in which neither the face alone nor the
context alone tells the label, and neither does pooling over time: it matters
which of two short events came first (`emorec.data.planted`). Writes the data
set to OUTPUT/data, trains small networks on it as `emorec experiment` does,
and shows on the test split what an oracle, a learner of pooled features and
each system reach, how far each fused system lies above the better single
stream, and what a cascade loses without its attention and without its
seeding. OUTPUT/planted.json holds all figures.

The same command again goes on where it was stopped. It takes about 10 minutes
on two cores.
"""

import os
import pathlib
import statistics
import time

from absl import flags

from emorec.cli import options
from emorec.errors import TrainingError

FLAGS = flags.FlagValues()
SINGLE = ("face_rnn", "context_rnn")
FUSED = (
    "parallel_rnn",
    "concatenated_rnn",
    "caca_rnn_a",
    "caca_rnn_b",
    "caca_rnn_mec2017",
)
CUT = ("caca_rnn_a.no_attention", "caca_rnn_a.no_seeding")
# Small networks and few epochs: a run takes seconds, and solves the task.
SETTINGS = (
    "model.encoder_units=32",
    "model.rnn_units=32",
    "train.learning_rate=0.01",
    "train.batch_size=50",
    "train.epochs=14",
)
_MAX_WORKERS = 8
_SPLIT = "test"
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Where the data set, the runs and planted.json go.",
    required=True,
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
_SYSTEMS = flags.DEFINE_string(
    "systems",
    ",".join((*SINGLE, *FUSED, *CUT)),
    "Ids with commas between them; a cascade with a part cut is "
    "SYSTEM.no_attention or SYSTEM.no_seeding.",
    flag_values=FLAGS,
)
_WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Processes (default: one a core, 1 to 8).",
    lower_bound=1,
    upper_bound=256,
    flag_values=FLAGS,
)
_SET = options.define_set(FLAGS)
_QUIET = options.define_quiet(FLAGS)


def main(args: list[str]) -> int:
    options.no_arguments(args)

    from emorec.data import files
    from emorec.evaluation import experiment_tables
    from emorec.training import experiment

    variants = experiment.variants(_SYSTEMS.value)
    with options.output_dir(_OUTPUT_DIR.value):
        plan = _plan(variants)
        reference = _reference()
        found = experiment.run(plan, _progress())
        figures = {**reference, **summary(found)}
        path = pathlib.Path(_OUTPUT_DIR.value) / "planted.json"
        files.write_json(path, figures)
    print(experiment_tables.format_table(experiment_tables.rows(found), _SPLIT))
    _show(figures)
    print(path)
    for record in found.with_status("failed"):
        raise TrainingError(
            f"{record.variant} with seed {record.seed} failed: {record.error}"
        )
    return 0


def _plan(variants):
    """Writes the data set; returns the `experiment.Plan`."""
    import functools

    from emorec.data import planted_set
    from emorec.features import precomputed
    from emorec.training import experiment

    data_dir = os.path.join(_OUTPUT_DIR.value, "data")
    planted_set.write(data_dir)
    return experiment.Plan(
        data_dir=data_dir,
        output_dir=_OUTPUT_DIR.value,
        variants=variants,
        seeds=_SEEDS.value,
        assignments=(*SETTINGS, *_SET.value),
        make_encoders=functools.partial(precomputed.encoders, data_dir),
        splits=(_SPLIT,),
        workers=_WORKERS.value or min(os.cpu_count() or 1, _MAX_WORKERS),
    )


def _reference() -> dict:
    """What is reached without a network, on the test split."""
    import numpy as np

    from emorec.data import planted
    from emorec.evaluation import metrics

    known, asked = planted.draw("train"), planted.draw(_SPLIT)

    def measured(answers):
        sure = np.eye(len(planted.LABELS))[answers]
        names = planted.LABELS.names
        return metrics.evaluate(asked.label_ids, sure, None, names)

    return {
        "oracle_acc": measured(planted.oracle(asked)).acc,
        "pooled_map": measured(planted.pooled_answers(known, asked)).map,
        "one_stream_bounds_acc": planted.bounds(),
    }


def summary(found) -> dict:
    """Returns the figures of the systems, all shares 0 to 1.

    Args:
        found: `experiment.Results`.

    Returns:
        `systems`: variant -> MAP on the test split, `by_seed` and its
        `median`, `min`, `max`; `above_one_stream`: fused system -> its median
        less the better one of the single streams; `cuts`: variant -> MAP of
        the whole network less that of the cut one, seed by seed. The least
        and the greatest of five such differences hold their median between
        them with a probability of 94 %.
    """
    maps = {
        v.id: {r.seed: r.metrics[_SPLIT]["map"] for r in found.of(v.id)}
        for v in found.plan.variants
        if found.of(v.id)
    }
    systems = {name: _spread(values) for name, values in maps.items()}
    single = [systems[s]["median"] for s in SINGLE if s in systems]
    cuts = {}
    for name, values in maps.items():
        whole = maps.get(name.partition(".")[0], {})
        both = [seed for seed in values if seed in whole]
        if "." in name and both:
            cuts[name] = _spread({s: whole[s] - values[s] for s in both})
    return {
        "settings": list(found.plan.assignments),
        "systems": systems,
        "above_one_stream": {
            name: systems[name]["median"] - max(single)
            for name in FUSED
            if name in systems and len(single) == len(SINGLE)
        },
        "cuts": cuts,
        "seconds": {
            v.id: statistics.median(r.seconds for r in found.of(v.id))
            for v in found.plan.variants
            if found.of(v.id)
        },
    }


def _spread(values: dict[int, float]) -> dict:
    numbers = list(values.values())
    return {
        "median": statistics.median(numbers),
        "min": min(numbers),
        "max": max(numbers),
        "by_seed": {str(seed): value for seed, value in values.items()},
    }


def _show(figures):
    bounds = figures["one_stream_bounds_acc"]
    print(
        f"\noracle: ACC {100 * figures['oracle_acc']:.2f} %\n"
        f"a learner of pooled features: MAP {100 * figures['pooled_map']:.2f} "
        f"%\nat most from one stream: ACC {100 * bounds['face']:.1f} % (face), "
        f"{100 * bounds['context']:.1f} % (context)"
    )
    if figures["above_one_stream"]:
        print("\nmedian MAP above the better single stream, points")
    for name, value in figures["above_one_stream"].items():
        print(f"  {name}  {100 * value:+.2f}")
    if figures["cuts"]:
        print(
            "\nMAP of the whole cascade less that of the cut one, points: "
            "median of the seeds' differences (least to greatest)"
        )
    for name, gap in figures["cuts"].items():
        low, high = 100 * gap["min"], 100 * gap["max"]
        print(
            f"  {name}  {100 * gap['median']:+.2f} ({low:+.2f} to {high:+.2f})"
        )


def _progress():
    """A bar on a terminal, else a line for each run."""
    started, bar = time.monotonic(), None

    def update(done, total, record):
        nonlocal bar
        if bar is None:
            bar = options.progress_bar("planted", "runs", _QUIET.value)
        bar(done, total)
        if record is not None and not _QUIET.value:
            text = (
                record.error or f"{100 * record.metrics[_SPLIT]['map']:.2f} %"
            )
            passed = time.monotonic() - started
            print(
                f"[{done}/{total}] {record.variant}, seed {record.seed}: MAP "
                f"{text}, {passed:.0f} s",
                flush=True,
            )

    return update
