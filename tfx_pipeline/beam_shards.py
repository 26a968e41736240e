"""Shards of a data set written by Apache Beam workers.

A worker gets a shard's description and calls `emorec.data.shards.write_shard`,
the function that a local run calls: one machine and a cluster run one code.
Only descriptions and summaries cross an edge of the pipeline, never a frame.

An error of a user's (a full disk, a corrupt shard) travels as data: Beam would
wrap an exception in a traceback of its own. It is raised when the pipeline is
done, so other shards are kept. Where not even the report of it can be written,
`plain_errors` finds it in what Beam raises.
"""

import contextlib
import dataclasses
import io
import re
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    StandardOptions,
)

from emorec import errors
from emorec.data import files, keys, records, shards
from emorec.errors import EmorecError, RecordError, UsageError

NAMESPACE = "emorec"
# Counters: rows read, rows that could not be read, records, sampled frames,
# those of them with a face.
COUNTERS = (
    "videos",
    "dead_letters",
    "records",
    "frames",
    "frames_with_face",
)
_FAULTS = "faults"
_FAULTS_FILE = "faults.json"
# What Beam adds to a message, and how a traceback tells an error of ours.
_STEP = re.compile(r" \[while running '[^']*'\]")
_TOLD = re.compile(rf"\b{re.escape(errors.__name__)}\.(\w+): ([^\n]+)")


@dataclasses.dataclass(frozen=True)
class CopyTask:
    """A shard that `emorec prepare` made, to be checked and copied.

    Attributes:
        source: The TFRecord file; its summary lies where `shards` puts it.
        path: Where it goes.
        config_hash: What each of its records must say.
    """

    source: str
    path: str
    config_hash: str


class _ShardDoFn(beam.DoFn):
    """One shard: a task -> `ShardSummary`; an error -> the output `faults`."""

    def __init__(self):
        self._counters = {
            name: beam.metrics.Metrics.counter(NAMESPACE, name)
            for name in COUNTERS
        }

    def work(self, task) -> shards.ShardSummary:
        raise NotImplementedError

    def process(self, task):
        try:
            summary = self.work(task)
        except EmorecError as e:
            yield beam.pvalue.TaggedOutput(_FAULTS, str(e))
            return
        counts = (
            summary.rows,
            len(summary.failures),
            summary.records,
            summary.frames_total,
            summary.frames_with_face,
        )
        for name, count in zip(COUNTERS, counts, strict=True):
            self._counters[name].inc(count)
        yield summary


class WriteShard(_ShardDoFn):
    """Writes one shard: `ShardTask` -> `ShardSummary`."""

    def work(self, task: shards.ShardTask) -> shards.ShardSummary:
        return shards.write_shard(task)


class CopyShard(_ShardDoFn):
    """Checks and copies one shard: `CopyTask` -> `ShardSummary`."""

    def work(self, task: CopyTask) -> shards.ShardSummary:
        summary = shards.read_summary(task.source)
        count = 0
        for example in records.read(task.source):
            count += 1
            found = records.one(example, keys.CONFIG_HASH)
            if found != task.config_hash:
                raise RecordError(
                    f"{task.source}: record {count} is of config {found}, "
                    f"not {task.config_hash}; run `emorec prepare` again"
                )
        if count != summary.records:
            raise RecordError(
                f"{task.source}: holds {count} records where its summary says "
                f"{summary.records}; copy the data set anew, or run `emorec "
                "prepare` again"
            )
        files.copy(task.source, task.path)
        # Last: its presence says that the shard is whole.
        files.copy(
            shards.summary_path(task.source), shards.summary_path(task.path)
        )
        return dataclasses.replace(summary, path=task.path)


def check(pipeline_args: Sequence[str]) -> None:
    """Refuses flags that Beam does not take, before any work.

    Raises:
        UsageError: A flag is wrong, or names a runner that there is not.
    """
    told = io.StringIO()
    try:
        # argparse prints what is wrong below a page of Beam's flags.
        with contextlib.redirect_stderr(told):
            options = PipelineOptions(list(pipeline_args))
            options.get_all_options()
            beam.runners.create_runner(
                options.view_as(StandardOptions).runner or "DirectRunner"
            )
    except (ValueError, ImportError, AttributeError, SystemExit) as e:
        reason = str(e)
        if isinstance(e, SystemExit):
            reason = told.getvalue().rpartition("error: ")[2] or reason
        raise UsageError(
            f"`--beam_pipeline_args`: {' '.join(reason.split())[:300]}"
        ) from e


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Raises an error of a user's as it was before Beam wrapped it.

    Around a pipeline, its run included.

    Raises:
        EmorecError: One was raised by a worker: its class, its one line.
        Exception: Any other, unchanged.
    """
    try:
        yield
    except Exception as e:
        found = _user_error(e)
        if found is None:
            raise
        raise found from e


def _user_error(error: BaseException) -> EmorecError | None:
    """Returns an error of ours from a chain of causes, or from its text."""
    seen, text = set(), ""
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, EmorecError):
            return type(error)(_STEP.sub("", str(error)))
        text += f"{error}\n"
        error = error.__cause__ or error.__context__
    # The last of a traceback is the one that was raised.
    for name, message in reversed(_TOLD.findall(text)):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, EmorecError):
            return kind(_STEP.sub("", message))
    return None


def write_shards(
    tasks: Sequence[shards.ShardTask],
    pipeline_args: Sequence[str] = (),
    make_pipeline: Callable[[], beam.Pipeline] | None = None,
) -> dict[str, int]:
    """Runs one Beam pipeline over the shards and waits for it.

    The paths of videos and shards must mean the same on every worker.

    Args:
        tasks: The shards; finished ones are skipped by the worker.
        pipeline_args: Beam's own flags, such as `--runner=FlinkRunner`.
        make_pipeline: What makes the pipeline, in place of `pipeline_args`.

    Returns:
        The `COUNTERS` of this pipeline.

    Raises:
        EmorecError: A shard could not be written; the others were.
    """
    return _run(tasks, WriteShard(), pipeline_args, make_pipeline)


def copy_shards(
    tasks: Sequence[CopyTask],
    pipeline_args: Sequence[str] = (),
    make_pipeline: Callable[[], beam.Pipeline] | None = None,
) -> dict[str, int]:
    """Checks and copies shards, as `write_shards` writes them.

    Raises:
        EmorecError: A shard is corrupt, of another config, or does not hold
            what its summary says.
    """
    return _run(tasks, CopyShard(), pipeline_args, make_pipeline)


def _run(tasks, work, pipeline_args, make_pipeline) -> dict[str, int]:
    if not tasks:
        return dict.fromkeys(COUNTERS, 0)
    folder = files.parent(shards.summary_path(tasks[0].path))
    path = files.join(folder, _FAULTS_FILE)
    if make_pipeline is None:
        pipeline = beam.Pipeline(options=PipelineOptions(list(pipeline_args)))
    else:
        pipeline = make_pipeline()
    # One shard is minutes of work: without a reshuffle a runner may fuse all
    # of them into one bundle on one worker.
    with plain_errors(), pipeline as root:
        done = (
            root
            | "Shards" >> beam.Create(list(tasks))
            | "Spread" >> beam.Reshuffle()
            | "Work" >> beam.ParDo(work).with_outputs(_FAULTS, main="done")
        )
        _ = (
            done[_FAULTS]
            | "Collect" >> beam.combiners.ToList()
            | "Tell" >> beam.Map(_tell, path)
        )
    _raise(path)
    return counters(pipeline.result)


def _tell(faults: list[str], path: str) -> None:
    files.write_json(path, {"faults": sorted(faults)})


def _raise(path: str) -> None:
    found = files.read_json(path, "report of the workers", "run it again")
    files.remove(path)
    faults = found["faults"]
    if faults:
        more = f" (and {len(faults) - 1} more)" if faults[1:] else ""
        raise EmorecError(faults[0] + more)


def counters(result) -> dict[str, int]:
    """Returns the `COUNTERS` of a pipeline's result; 0 where not counted."""
    found = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))[
        "counters"
    ]
    values = {metric.key.metric.name: metric.result for metric in found}
    return {name: values.get(name) or 0 for name in COUNTERS}
