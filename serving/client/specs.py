"""What a server tells of its models: version states and signatures."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from serving import tensors

AVAILABLE = "AVAILABLE"
_STATES = {
    0: "UNKNOWN",
    10: "START",
    20: "LOADING",
    30: "AVAILABLE",
    40: "UNLOADING",
    50: "END",
}
_INIT_OP = "__saved_model_init_op"


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """One version of a model on a server.

    Attributes:
        version: Its number.
        state: `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`.
        error_code: A gRPC status code's number; 0 is none.
        error_message: Why it is not served, or "".
    """

    version: int
    state: str
    error_code: int
    error_message: str


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature.

    Attributes:
        dtype: `float`, `string`, ... as TensorFlow names it.
        shape: Sizes, None where any will do; None as a whole if the rank is
            unknown.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclasses.dataclass(frozen=True)
class SignatureSpec:
    """The inputs and outputs of a signature by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


def versions(response: Any) -> list[VersionStatus]:
    """Reads a GetModelStatusResponse."""
    return [
        VersionStatus(
            v.version,
            _STATES.get(v.state, str(v.state)),
            v.status.error_code,
            v.status.error_message,
        )
        for v in response.model_version_status
    ]


def signatures(message: Any) -> dict[str, SignatureSpec]:
    """Reads a SignatureDefMap, without the model's init op."""
    return {
        name: SignatureSpec(
            _tensor_specs(signature.inputs), _tensor_specs(signature.outputs)
        )
        for name, signature in sorted(message.signature_def.items())
        if name != _INIT_OP
    }


def _tensor_specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _tensor_spec(info) for name, info in sorted(infos.items())}


def _tensor_spec(info: Any) -> TensorSpec:
    kind = tensors.KINDS.get(info.dtype)
    shape = None
    if not info.tensor_shape.unknown_rank:
        shape = tuple(
            None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim
        )
    return TensorSpec(kind.name if kind else f"type {info.dtype}", shape)
