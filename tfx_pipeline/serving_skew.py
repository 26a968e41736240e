"""Checks logged requests against the schema and the training data.

  python -m tfx_pipeline.serving_skew --logs='/var/log/emotion/r*.tfrecord' \\
      --training_statistics=RUN/statistics/Split-validation

Reads the records that clients sent (`serving_default`, Classify, Regress) out
of a model server's request logs, counts them with TFDV and says what is wrong:

  schema  a record is not as the committed schema says, in its environment
          SERVING
  skew    its distribution is another one than the training data's
  drift   it is another one than that of earlier logs (--previous_statistics)

What is compared, and how far it may move, is the schema's: see
`tfx_pipeline.schema`. Compare with the validation split: training records are
sampled otherwise. Exit code 0: nothing found; 1: something, or an error that
the message explains; 2: a wrong flag. serving/configs/SKEW.md has examples.
"""

import glob
import logging
import os
import pathlib
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence

from absl import flags

from emorec.errors import EmorecError, RecordError, UsageError
from tfx_pipeline import request_logs

FLAGS = flags.FlagValues()
_LOGS = flags.DEFINE_string(
    "logs",
    None,
    "Pattern of finished log files (*.tfrecord).",
    flag_values=FLAGS,
)
_TRAINING = flags.DEFINE_string(
    "training_statistics",
    None,
    "TFDV's statistics of training data: a file, or a Split-* folder of "
    "StatisticsGen.",
    flag_values=FLAGS,
)
_RECORDS = flags.DEFINE_string(
    "training_records",
    None,
    "Pattern of a data set's record files, in place of statistics of them: "
    "data/validation-*.tfrecord",
    flag_values=FLAGS,
)
_PREVIOUS = flags.DEFINE_string(
    "previous_statistics",
    None,
    "Statistics of earlier logs, as --output wrote them.",
    flag_values=FLAGS,
)
_SCHEMA = flags.DEFINE_string(
    "schema",
    str(pathlib.Path(__file__).parent / "schema" / "schema.pbtxt"),
    "The schema.",
    flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "File for the logs' statistics.", flag_values=FLAGS
)
_LEAST = flags.DEFINE_integer(
    "min_compared",
    100,
    "Fewer records than this are checked with the schema alone: of few, a "
    "difference is chance.",
    lower_bound=1,
    flag_values=FLAGS,
)


def statistics_of(examples: Iterator[bytes], schema):
    """Returns TFDV's statistics of serialized tf.Examples.

    They go through a file of this user's own, as Beam wants one; it is gone
    afterwards.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="serving_skew.") as folder:
        path = os.path.join(folder, "examples.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for example in examples:
                writer.write(example)
        return _count_records(path, schema)


def _count_records(pattern: str, schema):
    import tensorflow_data_validation as tfdv

    from tfx_pipeline import statistics

    options = statistics.options()
    options.schema = schema
    try:
        return tfdv.generate_statistics_from_tfrecord(
            pattern, stats_options=options
        )
    except (OSError, RuntimeError, ValueError) as e:
        # Beam says in some of these ways what its reader cannot read.
        raise RecordError(
            f"{pattern}: is no file of records "
            f"({' '.join(str(e).split())[:200]}); name those of a data set"
        ) from e


def check(
    served, schema, training=None, previous=None, min_compared: int = 100
) -> dict[str, list[str]]:
    """Compares the statistics of logs with the schema and other statistics.

    Args:
        served: Statistics of the records that were sent.
        schema: The schema.
        training: Statistics of training data, for skew.
        previous: Statistics of earlier logs, for drift.
        min_compared: Fewer records than this, on either side, are not
            compared.

    Returns:
        For each kind of check that was made (`schema`, `skew`, `drift`) a
        line for every anomaly.
    """
    from tfx_pipeline.components.example_validator import in_words, validate

    count = _count(served)
    lines = {"schema": in_words(validate(served, schema, serving=True), count)}
    if training and min(count, _count(training)) >= min_compared:
        found = validate(
            training, schema, served=served, min_compared=min_compared
        )
        lines["skew"] = in_words(_compared(found), count)
    if previous and min(count, _count(previous)) >= min_compared:
        found = validate(
            served,
            schema,
            serving=True,
            previous=previous,
            min_compared=min_compared,
        )
        lines["drift"] = in_words(_compared(found), count)
    return lines


def _compared(anomalies):
    """Keeps what a comparison found: the rest is not news, or not ours."""
    kept = type(anomalies)()
    for name, info in anomalies.anomaly_info.items():
        reasons = [
            reason
            for reason in info.reason
            if info.Type.Name(reason.type).startswith("COMPARATOR_")
        ]
        if reasons:
            kept.anomaly_info[name].reason.extend(reasons)
    return kept


def _count(stats) -> int:
    return int(stats.datasets[0].num_examples)


def _load(path: str):
    """Reads statistics: a file, or the one of a folder of StatisticsGen."""
    from google.protobuf import message
    from tensorflow_metadata.proto.v0 import statistics_pb2

    from emorec.data import files

    if files.is_folder(path):
        path = files.join(path, "FeatureStats.pb")
    stats = statistics_pb2.DatasetFeatureStatisticsList()
    try:
        with files.local_copy(path) as local:
            stats.ParseFromString(local.read_bytes())
    except (OSError, message.DecodeError) as e:
        raise _no_statistics(path, e) from e
    if not stats.datasets:
        raise _no_statistics(path, "empty")
    return stats


def _no_statistics(path, reason) -> RecordError:
    return RecordError(
        f"{path}: holds no statistics of TFDV "
        f"({' '.join(str(reason).split())[:200]}); name a FeatureStats.pb of "
        "StatisticsGen, or a file of --output"
    )


def _paths(flag: str, pattern: str) -> list[str]:
    paths = sorted(p for p in glob.glob(pattern) if os.path.isfile(p))
    if not paths:
        raise UsageError(
            f"no file is there for --{flag}. Received: {pattern!r}"
        )
    return paths


def _run() -> int:
    paths = _paths("logs", _LOGS.value)
    if _RECORDS.value:
        if _TRAINING.value:
            raise UsageError(
                "--training_statistics and --training_records exclude each "
                "other; give one of them"
            )
        _paths("training_records", _RECORDS.value)

    import tensorflow_data_validation as tfdv

    from tfx_pipeline import schema as schemas

    schemas.label_names(_SCHEMA.value)  # Says what is wrong with the file.
    schema = tfdv.load_schema_text(_SCHEMA.value)
    training = _load(_TRAINING.value) if _TRAINING.value else None
    if _RECORDS.value:
        training = _count_records(_RECORDS.value, schema)
    previous = _load(_PREVIOUS.value) if _PREVIOUS.value else None
    found = request_logs.Found(len(paths))
    served = statistics_of(request_logs.read_examples(paths, found), schema)
    print(
        f"{found.files} log file{'s' * (found.files != 1)}: {found.records} "
        f"records in {found.requests} requests; {found.others} requests "
        "without records"
    )
    if not found.records:
        raise RecordError(
            f"{_LOGS.value}: holds no records; only requests for "
            "serving_default, Classify and Regress have them"
        )
    if _OUTPUT.value:
        from emorec.data import files

        with files.atomic(_OUTPUT.value) as temporary:
            temporary.write_bytes(served.SerializeToString())
    lines = check(served, schema, training, previous, _LEAST.value)
    _print(lines, found.records, training, previous)
    return int(any(lines.values()))


def _print(lines, records, training, previous) -> None:
    for kind, stats in (("skew", training), ("drift", previous)):
        if stats and kind not in lines:
            print(
                f"{kind}: not compared: {records} records and "
                f"{_count(stats)}, at least {_LEAST.value} are needed"
            )
    for kind, texts in lines.items():
        ending = "y" if len(texts) == 1 else "ies"
        print(f"{kind}: {len(texts) or 'no'} anomal{ending}")
        for text in texts:
            print(f"  {text}")


def main(argv: Sequence[str]) -> int:
    """Runs the check; returns the exit code."""
    if any(arg in ("--help", "-h") for arg in argv[1:]):
        print(f"{__doc__}\n{FLAGS.get_help()}")
        return 0
    try:
        # A second call in one process must not see the first one's values.
        for key in FLAGS:
            FLAGS[key].unparse()
        FLAGS(list(argv))
        if not _LOGS.value:
            raise UsageError("name the logs: --logs=PATTERN")
        return _run()
    except flags.Error as e:
        print(f"serving_skew: {' '.join(str(e).split())}", file=sys.stderr)
        return 2
    except EmorecError as e:
        print(f"serving_skew: {e}", file=sys.stderr)
        return e.exit_code


def _quiet_libraries() -> None:
    """Keeps the libraries' own chatter off the user's terminal.

    In this command's process only, before they are imported; a user's own
    setting is respected.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


if __name__ == "__main__":
    _quiet_libraries()
    sys.exit(main(sys.argv))
