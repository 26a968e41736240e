"""Shards of features made by Apache Beam workers.

The counterpart of `tfx_pipeline.beam_shards`. It imports nothing of TFX, whose
20 seconds every worker process would spend.
"""

import threading

import apache_beam as beam

from emorec.errors import EmorecError
from emorec.features import feature_set
from emorec.features.encoders import Encoders

_LOCK = threading.Lock()
_LOADED: dict[str, Encoders] = {}


def keep(encoders: Encoders) -> None:
    """Keeps encoders in this process, in place of those that it has."""
    with _LOCK:
        _LOADED.clear()
        _LOADED[encoders.hash] = encoders


def _encoders(name: str, path: str, hashes: dict[str, str]) -> Encoders:
    """Returns the encoders of a feature set, loaded once in a process.

    A runner makes a DoFn for each bundle; a network takes seconds to load
    and to trace.

    Args:
        name: `Encoders.hash`.
        path: The feature set.
        hashes: Stream -> the encoder's hash.
    """
    with _LOCK:
        if name not in _LOADED:
            _LOADED.clear()
            _LOADED[name] = feature_set.load_encoders(path, hashes)
        return _LOADED[name]


class ExtractShard(beam.DoFn):
    """Makes one shard of features: `ShardTask` -> its records.

    What a user can mend is in the shard's summary (`feature_set.finish`).

    Args:
        path: The feature set, with its encoders saved.
        hashes: Stream -> the encoder's hash.
    """

    # Threads of one process take turns: one CNN keeps all its cores busy.
    _turn = threading.Lock()

    def __init__(self, path: str, hashes: dict[str, str]):
        self._path = path
        self._hashes = hashes
        self._clips = beam.metrics.Metrics.counter("emorec", "clips")
        self._failed = beam.metrics.Metrics.counter("emorec", "failed_shards")

    def process(self, task: feature_set.ShardTask):
        with ExtractShard._turn:
            count = self._write(task)
        if count is None:
            self._failed.inc()
            return
        self._clips.inc(count)
        yield count

    def _write(self, task) -> int | None:
        try:
            # Not in `setup`, where an error could not become a fault.
            encoders = _encoders(task.encoders, self._path, self._hashes)
        except EmorecError as e:
            feature_set.write_fault(task, e)
            return None
        return feature_set.write_shard(task, encoders)
