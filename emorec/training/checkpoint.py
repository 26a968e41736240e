"""The state of a run between two epochs, in one file.

All variables of the model (seed generators too) and of the optimizer, the
best weights so far and the counters: a resumed run goes on exactly where the
killed one was. One npz, so that it is written atomically; no pickles.
"""

import dataclasses
import io
import json
import os
import zipfile

import numpy as np

from emorec.data import files
from emorec.errors import TrainingError

FILE = "last.npz"


@dataclasses.dataclass
class Progress:
    """What the loop knows between two epochs.

    Attributes:
        run: Names the run: config, data and seed.
        epoch: Epochs that are done.
        best: The best monitored loss so far.
        best_epoch: The epoch that had it.
        history: One dict of figures an epoch.
        best_weights: The model's variables at `best_epoch`.
    """

    run: str
    epoch: int = 0
    best: float = float("inf")
    best_epoch: int = -1
    history: list = dataclasses.field(default_factory=list)
    best_weights: list = dataclasses.field(default_factory=list)


def save(folder: str | os.PathLike, progress: Progress, variables) -> None:
    """Writes the state atomically.

    Args:
        folder: Where to, local or remote.
        progress: The counters and the best weights.
        variables: All state of model and optimizer.

    Raises:
        EmorecError: The file cannot be written; the last one stays.
    """
    values = dataclasses.asdict(progress)
    best = values.pop("best_weights")
    arrays = {f"v{i}": np.asarray(v) for i, v in enumerate(variables)}
    arrays |= {f"b{i}": np.asarray(v) for i, v in enumerate(best)}
    meta = json.dumps(values).encode()
    # In memory first: on a full disk zipfile would leave an open archive,
    # whose __del__ prints a traceback.
    buffer = io.BytesIO()
    np.savez(buffer, meta=np.frombuffer(meta, np.uint8), **arrays)
    with files.atomic(files.join(folder, FILE)) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def restore(folder: str | os.PathLike, run: str, variables) -> Progress:
    """Reads the state into `variables`; a new `Progress` where there is none.

    Raises:
        TrainingError: The state belongs to another run, or is damaged.
    """
    path = files.join(folder, FILE)
    if not files.exists(path):
        return Progress(run)
    try:
        with (
            files.local_copy(path) as local,
            np.load(local, allow_pickle=False) as arrays,
        ):
            progress = Progress(**json.loads(arrays["meta"].tobytes()))
            state = _list(arrays, "v")
            progress.best_weights = _list(arrays, "b")
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as e:
        raise TrainingError(
            f"{path}: cannot be read ({e}); give --overwrite to start again"
        ) from e
    if progress.run != run or len(state) != len(variables):
        raise TrainingError(
            f"{folder}: holds a run with another config, data set or seed; "
            "choose another --output_dir, or give --overwrite"
        )
    for variable, value in zip(variables, state, strict=True):
        variable.assign(value)
    return progress


def _list(arrays, prefix):
    count = sum(name.startswith(prefix) for name in arrays.files)
    return [arrays[f"{prefix}{i}"] for i in range(count)]
