"""Which devices and machines train: the tf.distribute strategy.

One device by default, all GPUs of one machine, or the machines that
`TF_CONFIG` names. Each replica (a device of a worker) computes a part of a
batch's rows; what they compute is one model, and the numbers are those of one
device but for the order of sums.

Workers run the same command on the same files: the data set and the output
folder lie on a file system that all of them see. Only the chief writes. As a
worker that raises would leave the others waiting, what may fail in one of
them alone is done `together`.
"""

import contextlib
import functools
import json
import os
from collections.abc import Iterator

import tensorflow as tf

from emorec.errors import ConfigError, TrainingError

VARIABLE = "TF_CONFIG"
_FORM = (
    f'{VARIABLE} must be {{"cluster": {{"worker": ["HOST:PORT", ...]}}, '
    '"task": {"type": "worker", "index": N}}'
)
_JOBS = ("chief", "worker")


def choose() -> tf.distribute.Strategy:
    """Returns the strategy that the environment asks for.

    A strategy that is in scope stays. `TF_CONFIG` with several workers gives
    `MultiWorkerMirroredStrategy`, which TensorFlow can only make before its
    first operation, and which waits until all workers are there; several
    visible GPUs give `MirroredStrategy`; anything else is one device.

    Raises:
        ConfigError: `TF_CONFIG` is malformed, or this is called too late.
    """
    if tf.distribute.has_strategy():
        return tf.distribute.get_strategy()
    if cluster_size() > 1:
        return _multi_worker(os.environ[VARIABLE])
    if len(tf.config.get_visible_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def cluster_size() -> int:
    """Returns how many workers `TF_CONFIG` names; 0 without one.

    Raises:
        ConfigError: It is malformed.
    """
    return _workers(os.environ.get(VARIABLE, ""))


def _workers(text: str) -> int:
    """Returns how many workers a `TF_CONFIG` names; 0 without one."""
    if not text.strip():
        return 0
    try:
        values = json.loads(text)
        cluster = values.get("cluster") or {}
        unknown = sorted(set(cluster) - {*_JOBS})
        if unknown:
            raise ValueError(f"of the jobs {', '.join(unknown)} none is known")
        workers = [address for job in _JOBS for address in cluster.get(job, [])]
        if any(":" not in address for address in workers):
            raise ValueError("an address has no port")
        if workers:
            task = values["task"]
            if not 0 <= int(task["index"]) < len(cluster[task["type"]]):
                raise ValueError("the task's index is beyond the cluster")
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise ConfigError(
            f"{_FORM}. Received: {text[:200]!r} ({e}); mend it, or unset it to "
            "train on one machine"
        ) from e
    return len(workers)


# TensorFlow joins a cluster once in a process.
@functools.lru_cache(maxsize=1)
def _multi_worker(text: str) -> tf.distribute.Strategy:
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError) as e:
        raise ConfigError(
            f"{VARIABLE} names several workers, and TensorFlow was in use "
            f"before they were joined ({_line(e)}); call "
            "emorec.training.distribution.choose first in the process, and "
            "pass its `strategy` on"
        ) from e
    except tf.errors.OpError as e:
        raise ConfigError(
            f"{VARIABLE}: the cluster cannot be joined ({_line(e)}). "
            f"Received: {text[:200]!r}; mend it, or unset it to train on one "
            "machine"
        ) from e


def _line(error) -> str:
    return " ".join(str(error).split())[:200]


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether several processes train together."""
    # MirroredStrategy has a resolver too, which reads `TF_CONFIG`.
    return isinstance(
        strategy, tf.distribute.MultiWorkerMirroredStrategy
    ) and bool(strategy.cluster_resolver.cluster_spec())


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes."""
    if not is_multi_worker(strategy):
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def gather(strategy: tf.distribute.Strategy, number: float) -> list[float]:
    """Returns the number that each replica's process gave, on all of them.

    Args:
        strategy: The strategy; all of its processes call this.
        number: float32, so that whole numbers up to 2^24 arrive unchanged.
    """
    if not is_multi_worker(strategy):
        return [float(number)]
    with connected(strategy):
        given = _gather(strategy)(tf.constant([number], tf.float32))
    return given.numpy().tolist()


# Traced once: a trace takes longer than the exchange.
@functools.lru_cache(maxsize=1)
def _gather(strategy):
    def of_all(number):
        # The gathering asks the tensor for its device; an argument has none.
        number = tf.identity(number)
        return tf.distribute.get_replica_context().all_gather(number, axis=0)

    def run(number):
        found = strategy.run(of_all, args=(number,))
        return strategy.experimental_local_results(found)[0]

    return tf.function(run, input_signature=[tf.TensorSpec((1,), tf.float32)])


@contextlib.contextmanager
def connected(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Says in one line that another worker's process is gone.

    Raises:
        TrainingError: TensorFlow has lost a worker.
    """
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
    ) as e:
        if not is_multi_worker(strategy):
            raise
        raise TrainingError(
            "another worker of the cluster was lost; start all of them again, "
            "and the run goes on from its last epoch"
        ) from e


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Returns when all processes of the strategy have come here."""
    gather(strategy, 0)


@contextlib.contextmanager
def together(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Does a block in each process; none goes on if it failed in one.

    The block holds no collective operation of its own.

    Raises:
        TrainingError: It failed in another process.
    """
    try:
        yield
    except Exception:
        # Where the others are gone too, this error says more than that.
        with contextlib.suppress(TrainingError):
            gather(strategy, 1)
        raise
    if any(gather(strategy, 0)):
        raise TrainingError(
            "another worker has stopped, so this one cannot go on; that "
            "worker's own output says why"
        )


def agree(strategy: tf.distribute.Strategy, number: int, what: str) -> None:
    """Refuses to go on where the processes have different numbers.

    Args:
        strategy: The strategy; all of its processes call this.
        number: From 0 to 2^24 - 1.
        what: What it stands for, and the remedy, for the message.

    Raises:
        TrainingError: In all processes.
    """
    found = gather(strategy, number)
    if len(set(found)) > 1:
        raise TrainingError(
            f"the workers have different {what}. Received: "
            f"{', '.join(f'{n:.0f}' for n in found)}"
        )
