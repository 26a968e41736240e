"""The trial of a servable: real requests to a server, and the comparison.

A model of emorec is asked through every signature that the records allow. Of
any other SavedModel, each signature of one input, string [B], is sent the
records. What answers are held against: `tfx_pipeline.servable_judges`.
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from emorec.errors import ModelError, ServerError
from serving.client.errors import BadRequest
from serving.client.specs import TensorSpec
from tfx_pipeline import servable_requests
from tfx_pipeline.servable_judges import (
    OfAnyModel,
    OfEmorec,
    Reference,
    Refusal,
)
from tfx_pipeline.servable_requests import Samples
from tfx_pipeline.servable_server import NOT_OF_THE_MODEL, Deadline, Server

TRAINER = "the trainer's predictions"
IN_PROCESS = "the SavedModel in this process"
_FEATURES = "features"


@dataclasses.dataclass
class Tried:
    """What became of one signature.

    Attributes:
        requests: Requests that were answered.
        clips: Rows in them.
        largest_difference: Of a number; None where none was compared.
        seconds: Until its answers came, all requests together.
        error: Why it is not right, in one line, or None.
    """

    requests: int = 0
    clips: int = 0
    largest_difference: float | None = None
    seconds: float = 0.0
    error: str | None = None

    def count(self, rows: int, difference: float | None) -> None:
        """Adds a request that was answered rightly."""
        self.requests += 1
        self.clips += rows
        if difference is not None:
            self.largest_difference = max(
                self.largest_difference or 0.0, difference
            )


@dataclasses.dataclass
class Trial:
    """What became of a candidate.

    Attributes:
        tolerance: Largest difference that is allowed.
        compared_with: `TRAINER` or `IN_PROCESS`.
        server: The server's kind and version.
        signatures: Name -> what became of it.
        not_tried: Name -> why it was not tried.
        error: Why nothing could be asked, in one line, or None.
    """

    tolerance: float
    compared_with: str = IN_PROCESS
    server: dict[str, str] = dataclasses.field(default_factory=dict)
    signatures: dict[str, Tried] = dataclasses.field(default_factory=dict)
    not_tried: dict[str, str] = dataclasses.field(default_factory=dict)
    error: str | None = None

    @property
    def blessed(self) -> bool:
        """Whether the candidate may be served."""
        return (
            self.error is None
            and bool(self.signatures)
            and all(t.error is None for t in self.signatures.values())
        )

    @property
    def reason(self) -> str:
        """Why it may, or may not, in one line."""
        if self.error is not None:
            return self.error
        faults = [
            f"{name}: {t.error}"
            for name, t in self.signatures.items()
            if t.error is not None
        ]
        if faults:
            return "; ".join(faults)
        if not self.signatures:
            why = "; ".join(f"{n}: {w}" for n, w in self.not_tried.items())
            return f"no signature could be tried ({why or 'it has none'})"
        worst = max(
            t.largest_difference or 0.0 for t in self.signatures.values()
        )
        return (
            f"{', '.join(self.signatures)} answered as "
            f"{self.compared_with}, largest difference {worst:.2g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {
            "blessed": self.blessed,
            "reason": self.reason,
            **dataclasses.asdict(self),
        }


def run(
    trial: Trial,
    server: Server,
    path: str,
    described: Mapping | None,
    samples: Samples,
    deadline: Deadline,
) -> None:
    """Tries every signature of a served candidate; fills `trial`.

    Args:
        trial: Filled; its `tolerance` counts.
        server: Where the candidate is served.
        path: Its SavedModel, a local folder.
        described: `Bundle.describe()`, or None for any other SavedModel.
        samples: What to send.
        deadline: When the trial ends.

    Raises:
        ModelError: The model cannot be asked at all.
        ServerError: The server does not answer, or not in time: nothing that
            the model is to blame for.
    """
    trial.server = {"kind": server.kind, "version": server.version}
    with server.client(deadline) as client:
        specs = client.metadata()
    reference = Reference(path)
    if described is None:
        judge = OfAnyModel(reference, trial.tolerance)
        requests = _string_requests(trial, specs, samples)
    else:
        judge = OfEmorec(reference, trial.tolerance, described, samples)
        requests = _emorec_requests(trial, specs, described, samples)
    for name, inputs in requests.items():
        tried = Tried()
        try:
            # One row alone, then all of them together.
            for rows in sorted({1, len(next(iter(inputs.values())))}):
                request = {k: v[:rows] for k, v in inputs.items()}
                started = time.monotonic()
                with server.client(deadline) as client:
                    answer = client.predict(name, request)
                tried.seconds += round(time.monotonic() - started, 3)
                tried.count(rows, judge.difference(name, request, answer))
        except NOT_OF_THE_MODEL:
            # First: this tells what to do.
            deadline.left()
            raise
        except (Refusal, ServerError) as e:
            tried.error = " ".join(str(e).split())
            if isinstance(e, BadRequest) and judge.is_foreign(name, request):
                trial.not_tried[name] = f"takes no such records: {tried.error}"
                continue
        trial.signatures[name] = tried


def _string_requests(trial, specs, samples) -> dict[str, dict]:
    """Requests for the signatures of one input, string [B]."""
    records = np.empty(len(samples.frames), object)
    records[:] = samples.frames
    made = {}
    for name, spec in specs.items():
        inputs = list(spec.inputs.items())
        if len(inputs) == 1 and _takes_strings(inputs[0][1]):
            made[name] = {inputs[0][0]: records}
        else:
            trial.not_tried[name] = "its input is not one string [B]"
    return made


def _takes_strings(spec: TensorSpec) -> bool:
    return spec.dtype == "string" and spec.shape in (None, (None,))


def _emorec_requests(trial, specs, described, samples) -> dict[str, dict]:
    """Requests for the signatures of a model of emorec."""
    if _FEATURES not in specs:
        raise ModelError(
            f"the model has no signature {_FEATURES!r}; export it again"
        )
    shapes = {n: s.shape[2:] for n, s in specs[_FEATURES].inputs.items()}
    made = servable_requests.requests(described, samples, shapes)
    for name in specs:
        if name not in made:
            trial.not_tried[name] = servable_requests.NOT_MADE.get(
                name, "not known to this version of emorec"
            )
    # A signature that the server lacks is asked for, and refused by it.
    return made
