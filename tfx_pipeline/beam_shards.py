"""Shards of a data set written by Apache Beam workers.

A worker gets a shard's description and calls `emorec.data.shards.write_shard`,
the function that a local run calls: one machine and a cluster run one code.
Only descriptions and summaries cross an edge of the pipeline, never a frame.
"""

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    StandardOptions,
)

from emorec.data import shards
from emorec.errors import UsageError


class WriteShard(beam.DoFn):
    """Writes one shard: `ShardTask` -> `ShardSummary`."""

    def __init__(self):
        self._videos = beam.metrics.Metrics.counter("emorec", "videos")
        self._failed = beam.metrics.Metrics.counter("emorec", "failed_videos")

    def process(self, task: shards.ShardTask):
        summary = shards.write_shard(task)
        self._videos.inc(summary.rows)
        self._failed.inc(len(summary.failures))
        yield summary


def check(pipeline_args: Sequence[str]) -> None:
    """Refuses flags that Beam does not take, before any work.

    Raises:
        UsageError: A flag is wrong, or names a runner that there is not.
    """
    options = PipelineOptions(list(pipeline_args))
    try:
        beam.runners.create_runner(
            options.view_as(StandardOptions).runner or "DirectRunner"
        )
    except (ValueError, ImportError, AttributeError) as e:
        raise UsageError(
            f"`--beam_pipeline_args`: {' '.join(str(e).split())[:300]}"
        ) from e


def write_shards(
    tasks: Sequence[shards.ShardTask], pipeline_args: Sequence[str] = ()
) -> None:
    """Runs one Beam pipeline over the shards and waits for it.

    The paths of videos and shards must mean the same on every worker.

    Args:
        tasks: The shards; finished ones are skipped by the worker.
        pipeline_args: Beam's own flags, such as `--runner=FlinkRunner`.
    """
    # One shard is minutes of work: without a reshuffle a runner may fuse all
    # of them into one bundle on one worker.
    with beam.Pipeline(options=PipelineOptions(list(pipeline_args))) as root:
        _ = (
            root
            | "Shards" >> beam.Create(list(tasks))
            | "Spread" >> beam.Reshuffle()
            | "Write" >> beam.ParDo(WriteShard())
        )
