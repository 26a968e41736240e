r"""emorec evaluate: a model's metrics on a split of a prepared data set.

  emorec evaluate --data_dir=data --split=test --output_dir=report \
      --model_dir=model

Counts every readable video of the split; one without a face is a wrong answer.
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
_SPLIT = flags.DEFINE_string("split", "test", "The split.", flag_values=FLAGS)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where it goes.", required=True, flag_values=FLAGS
)
_BACKEND = options.define_backend(FLAGS)
_QUIET = options.define_quiet(FLAGS)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    options.one_of(_BACKEND, *options.BACKENDS)

    from emorec.data import dataset
    from emorec.evaluation import evaluate

    data = dataset.load(_DATA_DIR.value)
    with options.output_dir(_OUTPUT_DIR.value):
        clips, description = _predict(data)
        report = evaluate.report(data, _SPLIT.value, clips, description)
        report.write(_OUTPUT_DIR.value)
    _show(report)
    options.announce_notes(description)
    return 0


def _predict(data):
    """Returns the answers for the split, and what the model is."""
    from emorec.evaluation import evaluate

    bar = options.progress_bar("evaluate", "shards", _QUIET.value)
    if _BACKEND["model_dir"].value:
        from emorec.training import bundle

        model = bundle.load(_BACKEND["model_dir"].value)
        clips = evaluate.with_bundle(data, _SPLIT.value, model, progress=bar)
        return clips, model.describe()
    backend = options.make_backend(_BACKEND)
    clips = evaluate.with_backend(data, _SPLIT.value, backend, progress=bar)
    return clips, backend.description


def _show(report):
    """Prints the metrics."""
    from emorec.evaluation import metrics

    print(metrics.format_table(report.metrics))
    print()
    print(
        f"majority class ({report.majority}): ACC "
        f"{100 * report.majority_metrics.acc:.2f} %, MAP "
        f"{100 * report.majority_metrics.map:.2f} %"
    )
    print(f"{report.coverage:.1%} of the sampled frames had a face")
    if report.unreadable:
        print(
            f"{report.unreadable} videos of the split could not be read by "
            "`emorec prepare` and are not counted"
        )
