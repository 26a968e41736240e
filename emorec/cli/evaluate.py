r"""emorec evaluate: a model's metrics on a split, or two models compared.

  emorec evaluate --data_dir=data --split=test --output_dir=report \
      --model_dir=model
  emorec evaluate --manifest=clips/labels.csv --output_dir=report \
      --saved_model=served/emotion --fail_under map=.4
  emorec evaluate --data_dir=data --output_dir=report --compare old new

Counts every readable video of the split; one without a face is a wrong answer.
Writes metrics.json, predictions.csv, tables, charts and report.html; with
--compare comparison.json and comparison.html, and those of each model in the
folders a and b. Exit code 1 if a figure is below --fail_under.
"""

import contextlib
import dataclasses
import os
import tempfile

from absl import flags

from emorec.cli import options
from emorec.errors import UsageError

FLAGS = flags.FlagValues()
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "A data set of `emorec prepare` (TFRecords); this or --manifest.",
    flag_values=FLAGS,
)
_MANIFEST = flags.DEFINE_string(
    "manifest",
    None,
    "A manifest CSV of videos, as for `emorec prepare`, of which records are "
    "made with the model's config; this or --data_dir.",
    flag_values=FLAGS,
)
_SPLIT = flags.DEFINE_string(
    "split",
    "test",
    "The split. With --manifest, `all` takes every labelled row.",
    flag_values=FLAGS,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where it goes.", required=True, flag_values=FLAGS
)
_BACKEND = options.define_backend(FLAGS)
_COMPARE = flags.DEFINE_multi_string(
    "compare",
    [],
    "Two models instead of one, --compare A B: model folders, SavedModels, "
    "ONNX directories, or servers as HOST:PORT or HOST:PORT/MODEL_NAME.",
    flag_values=FLAGS,
)
_FAIL_UNDER = flags.DEFINE_multi_string(
    "fail_under",
    [],
    "METRIC=SHARE, such as map=.4: exit with 1 if the figure is below; may be "
    "given several times. Of map, acc, macro_f1, uar, ranking_map. With "
    "--compare it is asked of B.",
    flag_values=FLAGS,
)
_PREDICTIONS = flags.DEFINE_multi_enum(
    "predictions",
    ["csv"],
    ["csv", "parquet"],
    "The form of the predictions; may be given twice.",
    flag_values=FLAGS,
)
_REPORT = flags.DEFINE_bool(
    "report",
    True,
    "Write the HTML report, the tables and the charts too.",
    flag_values=FLAGS,
)
_BLUR_FACES = flags.DEFINE_bool(
    "blur_faces",
    False,
    "Hide the faces in the report's pictures.",
    flag_values=FLAGS,
)
_NO_THUMBNAILS = flags.DEFINE_bool(
    "no_thumbnails",
    False,
    "Show no pictures in the report.",
    flag_values=FLAGS,
)
_RECORDS_DIR = flags.DEFINE_string(
    "records_dir",
    None,
    "Keep the records of --manifest in this folder, for another run; without "
    "it they are removed.",
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed",
    0,
    "Of a split of --manifest that has to be drawn; as for `emorec prepare`.",
    flag_values=FLAGS,
)
_WORKERS = flags.DEFINE_integer(
    "workers",
    0,
    "Processes that read the videos of --manifest; 0 chooses.",
    lower_bound=0,
    upper_bound=256,
    flag_values=FLAGS,
)
_QUIET = options.define_quiet(FLAGS)


def main(args: list[str]) -> int:
    _check(args)

    from emorec.cli import evaluate_thresholds
    from emorec.evaluation import evaluation_files

    wanted = evaluate_thresholds.parse(_FAIL_UNDER.value)
    evaluation_files.require(_PREDICTIONS.value)
    with options.output_dir(_OUTPUT_DIR.value):
        reports = _compare(args) if _COMPARE.value else _evaluate()
    evaluate_thresholds.check(wanted, reports[-1].metrics, _OUTPUT_DIR.value)
    return 0


def _check(args):
    """Refuses flags that do not go together."""
    if _COMPARE.value:
        models = [*_COMPARE.value, *args]
        if len(models) != 2:
            raise UsageError(
                "`--compare` takes two models, --compare A B. Received: "
                f"{' '.join(models)}"
            )
        given = [n for n in options.BACKENDS if _BACKEND[n].value]
        if given:
            raise UsageError(
                f"`--compare` names both models itself; leave --{given[0]} away"
            )
    else:
        options.no_arguments(args)
        options.one_of(_BACKEND, *options.BACKENDS)
    options.one_of(
        {"data_dir": _DATA_DIR, "manifest": _MANIFEST}, "data_dir", "manifest"
    )
    if _RECORDS_DIR.value and not _MANIFEST.value:
        raise UsageError("`--records_dir` belongs to `--manifest`")


def _evaluate() -> list:
    """Evaluates the model that the flags name; returns its report."""
    from emorec.cli import evaluate_models

    model = evaluate_models.of_flags(_BACKEND)
    with _data() as data_of:
        report, page = _report(model, data_of(model), _OUTPUT_DIR.value)
    _show(report)
    if page:
        print(f"report: {page}")
    options.announce_notes(model.description)
    return [report]


def _compare(args) -> list:
    """Evaluates two models and compares them; returns both reports."""
    from emorec.cli import evaluate_models
    from emorec.evaluation import compare, evaluation_report

    names = [*_COMPARE.value, *args]
    models = [evaluate_models.of_text(name, _BACKEND) for name in names]
    compare.check_labels(*(m.labels.names for m in models))
    folder = _OUTPUT_DIR.value
    with _data() as data_of:
        # Both are told before the work if the data do not fit one of them.
        sets = [data_of(model) for model in models]
        reports = [
            _report(model, data, os.path.join(folder, part))[0]
            for model, data, part in zip(models, sets, ("a", "b"))
        ]
    found = compare.compare(*reports, tuple(names))
    found.write(folder)
    page = os.path.join(folder, evaluation_report.COMPARISON_FILE)
    notes = evaluate_models.notes(models)
    notes += [f"{x}: {r.caution}" for x, r in zip("AB", reports) if r.caution]
    if _REPORT.value:
        evaluation_report.write_comparison(found, page, _where(), notes)
    print(compare.format_table(found))
    if _REPORT.value:
        print(f"report: {page}")
    for note in notes:
        print(f"note: {note}")
    return reports


@contextlib.contextmanager
def _data():
    """Gives a function that returns the data set for a model."""
    if _DATA_DIR.value:
        from emorec.data import dataset

        data = dataset.load(_DATA_DIR.value)

        def given(model):
            dataset.check_fits(data, model.config, model.labels, "this model")
            return data

        yield given
        return
    from emorec.evaluation import manifest_set

    with contextlib.ExitStack() as stack:
        folder = _RECORDS_DIR.value or stack.enter_context(
            # They hold faces, and may be large: where the user wants results.
            tempfile.TemporaryDirectory(
                dir=_OUTPUT_DIR.value, prefix=".records-"
            )
        )
        read = {}

        def made(model):
            names = model.labels.names
            if names not in read:
                read[names] = manifest_set.read(
                    _MANIFEST.value, _SPLIT.value, model.labels, _SEED.value
                )
            return manifest_set.make(
                read[names],
                folder,
                model.config,
                workers=_WORKERS.value,
                progress=options.progress_bar("read", "videos", _QUIET.value),
            )

        yield made


def _where() -> str:
    return _DATA_DIR.value or _MANIFEST.value


def _split() -> str:
    """The split's name in the data set."""
    if _DATA_DIR.value:
        return _SPLIT.value
    from emorec.evaluation import manifest_set

    return manifest_set.split_of(_SPLIT.value)


def _report(model, data, folder):
    """Asks a model, writes what was found; returns it and the page's path."""
    from emorec.evaluation import evaluate, evaluation_files

    split = _split()
    bar = options.progress_bar("evaluate", "shards", _QUIET.value)
    clips = model.predict(data, split, bar)
    report = dataclasses.replace(
        evaluate.report(data, split, clips, model.description),
        split=_SPLIT.value,
    )
    evaluation_files.clear(folder)
    report.write(folder, _PREDICTIONS.value)
    if not _REPORT.value:
        return report, None
    evaluation_files.write_tables(report, folder)
    title = f"{model.description['system']}: {split} split of {_where()}"
    if not evaluation_files.draw(report, folder, title):
        print(
            "note: confusion.png and reliability.png are not drawn, for "
            "matplotlib is not installed (emorec[charts])"
        )
    return report, _page(model, data, report, folder)


def _page(model, data, report, folder) -> str:
    """Writes the HTML report; returns its path."""
    from emorec.evaluation import (
        evaluation_files,
        evaluation_report,
        mistakes,
    )

    pictures, hider = {}, None
    if _BLUR_FACES.value:
        from emorec.video import blur

        hider = blur.FaceHider(config=data.config.detector)
    if not _NO_THUMBNAILS.value:
        rows = [row["row"] for row in mistakes.worst(report)]
        pictures = mistakes.pictures(data, _split(), rows, hider)
    page = os.path.join(folder, evaluation_files.PAGE)
    asked = evaluation_report.Asked(model.name, _where())
    evaluation_report.write(report, page, asked, pictures, hider is not None)
    return page


def _show(report):
    """Prints the metrics."""
    from emorec.evaluation import evaluation_table

    print(evaluation_table.format_report(report))
