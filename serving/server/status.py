"""The errors of a request: a gRPC status code and a message."""

import grpc
import tensorflow as tf

# As the real server does (tensorflow_serving/util/status_util.cc).
MESSAGE_LIMIT = 1024
_TRUNCATED = "...TRUNCATED"

_CODES = {code.value[0]: code for code in grpc.StatusCode}

_HTTP = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class StatusError(Exception):
    """A request that is refused, with the status that its sender is told.

    Attributes:
        code: The gRPC status code.
        message: The text, uncut.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status of `code`; 500 for what has no other."""
        return _HTTP.get(self.code, 500)

    @property
    def grpc_details(self) -> str:
        """The message, cut at `MESSAGE_LIMIT` characters."""
        if len(self.message) <= MESSAGE_LIMIT:
            return self.message
        return self.message[:MESSAGE_LIMIT] + _TRUNCATED


def invalid(message: str) -> StatusError:
    """Returns an INVALID_ARGUMENT error."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    """Returns a NOT_FOUND error."""
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def from_exception(error: Exception) -> StatusError:
    """Returns `error` as a status: TensorFlow's own code, else INTERNAL."""
    if isinstance(error, StatusError):
        return error
    if isinstance(error, tf.errors.OpError):
        code = _CODES.get(error.error_code, grpc.StatusCode.UNKNOWN)
        return StatusError(code, error.message)
    return StatusError(
        grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
    )


def one_line(text: str, limit: int = 500) -> str:
    """Returns `text` with white space folded and at most `limit` long."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."
