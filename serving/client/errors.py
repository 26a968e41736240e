"""What can go wrong between a client and a model server."""

import grpc

from emorec.errors import ServerError


class Unavailable(ServerError):
    """Nothing answers at the address, or the server is stopping."""


class DeadlineExceeded(ServerError):
    """No answer came within the time allowed."""


class ModelNotFound(ServerError):
    """The server has no such model or version."""


class BadRequest(ServerError):
    """The request does not fit the model; sending it again is no use."""


class Overloaded(ServerError):
    """The request is too large, or the server has too many of them."""


class Unsupported(ServerError):
    """The server does not have this method."""


_Code = grpc.StatusCode

# For each code: the error's class and what its receiver can do.
_KINDS = {
    _Code.UNAVAILABLE: (
        Unavailable,
        "check the address and that the server runs",
    ),
    _Code.DEADLINE_EXCEEDED: (
        DeadlineExceeded,
        "raise `timeout_s` or send fewer clips at a time",
    ),
    _Code.NOT_FOUND: (
        ModelNotFound,
        "check the model's name and version against the server's",
    ),
    _Code.INVALID_ARGUMENT: (
        BadRequest,
        "check the inputs against the signature (`metadata()`)",
    ),
    _Code.FAILED_PRECONDITION: (
        BadRequest,
        "check the signature's name (`metadata()`) and the model's export",
    ),
    _Code.OUT_OF_RANGE: (BadRequest, "check the inputs"),
    _Code.RESOURCE_EXHAUSTED: (
        Overloaded,
        "send fewer clips at a time, try again later, or raise "
        "`max_message_bytes` here and at the server",
    ),
    _Code.UNIMPLEMENTED: (Unsupported, "check what listens at the address"),
}


def from_rpc(
    error: grpc.RpcError, address: str, model_name: str
) -> ServerError:
    """Returns a failed call as an error whose message is one line.

    Args:
        error: What the call raised.
        address: Whom it called.
        model_name: The model it asked for.
    """
    code = error.code()
    kind, remedy = _KINDS.get(code, (ServerError, "see the server's log"))
    details = " ".join((error.details() or "no details").split())
    if len(details) > 500:
        details = details[:497] + "..."
    return kind(
        f"model server {address}, model {model_name!r}: {code.name}: "
        f"{details}; {remedy}"
    )
