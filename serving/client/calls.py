"""Requests to a model server and what their answers say: no network here."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emorec.errors import UsageError
from serving import tensors
from serving.client import errors, specs
from serving.client.connection import Endpoint
from serving.client.inputs import as_array
from serving.client.messages import messages

_MAX_TENSOR_BYTES = 2**31
_MAX_TIMEOUT_S = 1e9


@dataclasses.dataclass(frozen=True)
class Calls:
    """What one client asks one model.

    Attributes:
        endpoint: Whom it asks.
        timeout_s: Longest time in seconds for one call, tries included.
        version: The version to ask; None is the newest one.
        label: The version's label instead, such as `stable`.

    Raises:
        UsageError: A number is out of range, or both version and label are
            given.
    """

    endpoint: Endpoint
    timeout_s: float
    version: int | None = None
    label: str | None = None

    def __post_init__(self):
        _check_timeout(self.timeout_s)
        if self.version is not None and not 0 <= self.version < 2**63:
            raise UsageError(
                f"`version` must be 0 to 2**63 - 1. Received: {self.version}"
            )
        if self.version is not None and self.label is not None:
            raise UsageError(
                "give `version` or `label`, not both. Received: "
                f"{self.version} and {self.label!r}"
            )

    def seconds(self, timeout_s: float | None) -> float:
        """Returns a call's own deadline, or the client's.

        Raises:
            UsageError: It is no time.
        """
        if timeout_s is None:
            return self.timeout_s
        _check_timeout(timeout_s)
        return timeout_s

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
    ) -> Any:
        """Returns a PredictRequest; see `EmotionClient.predict`."""
        request = messages().PredictRequest(
            model_spec=self._spec(signature_name), output_filter=output_filter
        )
        for name, value in inputs.items():
            array = as_array(name, value)
            if array.ndim and not len(array):
                raise errors.BadRequest(
                    f"`{name}` must hold at least one row. Received: an "
                    f"array of shape {array.shape}"
                )
            try:
                tensors.fill(request.inputs[name], array, content=True)
            except ValueError as e:
                raise errors.BadRequest(f"`{name}` cannot be sent: {e}") from e
        return request

    def prediction(self, response: Any) -> dict[str, np.ndarray]:
        """Reads a PredictResponse."""
        try:
            return {
                name: tensors.to_array(proto, _MAX_TENSOR_BYTES)
                for name, proto in response.outputs.items()
            }
        except ValueError as e:
            raise errors.ServerError(
                f"model server {self.endpoint.address} gave an answer that "
                f"cannot be read: {e}"
            ) from e

    def metadata(self) -> Any:
        """Returns a GetModelMetadataRequest for the signatures."""
        return messages().GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )

    def signatures(self, response: Any) -> dict[str, specs.SignatureSpec]:
        """Reads a GetModelMetadataResponse."""
        found = messages().SignatureDefMap.FromString(
            response.metadata["signature_def"].value
        )
        return specs.signatures(found)

    def status(self) -> Any:
        """Returns a GetModelStatusRequest."""
        return messages().GetModelStatusRequest(model_spec=self._spec())

    def _spec(self, signature_name: str = "") -> Any:
        spec = messages().ModelSpec(
            name=self.endpoint.model_name, signature_name=signature_name
        )
        if self.version is not None:
            spec.version.value = self.version
        if self.label is not None:
            spec.version_label = self.label
        return spec


class Readiness:
    """The wait for a model that is not served yet.

    Args:
        calls: Whose server it is.
        timeout_s: Longest wait in seconds; None is the client's own.
    """

    def __init__(self, calls: Calls, timeout_s: float | None):
        self._calls = calls
        self._timeout_s = calls.seconds(timeout_s)
        self._ends = time.monotonic() + self._timeout_s
        self._pause = 0.1
        self._reason = ""

    @property
    def left(self) -> float:
        """Seconds that the next look may take."""
        return max(0.1, self._ends - time.monotonic())

    def is_ready(self, states: Sequence[specs.VersionStatus]) -> bool:
        """Whether the server's answer is what was waited for."""
        self._reason = "; ".join(
            f"version {s.version} is {s.state} {s.error_message}"
            for s in states
        )
        return any(s.state == specs.AVAILABLE for s in states)

    def failed(self, error: errors.ServerError) -> None:
        """Notes why a look gave no answer."""
        self._reason = str(error)

    def pause(self) -> float:
        """Returns the seconds until the next look.

        Raises:
            Unavailable: The time is over.
        """
        left = self._ends - time.monotonic()
        if left <= 0:
            raise errors.Unavailable(
                f"model server {self._calls.endpoint.address} is not ready "
                f"after {self._timeout_s:g} s: "
                f"{' '.join(self._reason.split())}"
            )
        pause, self._pause = self._pause, min(2 * self._pause, 1.0)
        return min(pause, left)


def _check_timeout(timeout_s: float) -> None:
    # gRPC takes more for a time that is over.
    if not 0 < timeout_s <= _MAX_TIMEOUT_S:
        raise UsageError(
            f"`timeout_s` must be more than 0 and at most "
            f"{_MAX_TIMEOUT_S:g}. Received: {timeout_s}"
        )
