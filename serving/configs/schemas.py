"""The four config files of the model server, as protobuf text.

  kind        flag of tensorflow_model_server    message
  models      --model_config_file                ModelServerConfig
  batching    --batching_parameters_file         BatchingParameters
  monitoring  --monitoring_config_file           MonitoringConfig
  ssl         --ssl_config_file                  SSLConfig

Only the first is in tensorflow-serving-api. The other three are built here
at first use, in a descriptor pool and under a package name of our own: the
fields have the real names and numbers, so the same text parses, and nothing
clashes with a program that has the real ones.
"""

import functools
import itertools
import os
import stat

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from google.protobuf.message import Message

from emorec.errors import UsageError

KINDS = ("models", "batching", "monitoring", "ssl")

# A config is a few kilobytes; whatever is larger is another file.
MAX_FILE_BYTES = 1 << 20
# What the real server takes where the batching file leaves a field away.
# (`num_batch_threads` is the number of CPUs.)
DEFAULT_MAX_BATCH_SIZE = 1000
DEFAULT_BATCH_TIMEOUT_MICROS = 0
DEFAULT_MAX_ENQUEUED_BATCHES = 10

_PACKAGE = "emorec.serving_configs"
_FIELD = descriptor_pb2.FieldDescriptorProto
_INT64 = ".google.protobuf.Int64Value"
_STRING = ".google.protobuf.StringValue"
# message: {field: (number, type)}; a type with a dot is a message.
_SCHEMA = {
    "BatchingParameters": {
        "max_batch_size": (1, _INT64),
        "batch_timeout_micros": (2, _INT64),
        "max_enqueued_batches": (3, _INT64),
        "num_batch_threads": (4, _INT64),
        "thread_pool_name": (5, _STRING),
        "allowed_batch_sizes": (6, "[]int64"),
        "pad_variable_length_inputs": (7, "bool"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {
        "prometheus_config": (1, f".{_PACKAGE}.PrometheusConfig"),
    },
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
}
_NAMES = {
    "batching": "BatchingParameters",
    "monitoring": "MonitoringConfig",
    "ssl": "SSLConfig",
}


def message_class(kind: str) -> type[Message]:
    """Returns the message class of a config file.

    Args:
        kind: One of `KINDS`.

    Raises:
        ValueError: Another kind.
    """
    if kind == "models":
        from tensorflow_serving.config import model_server_config_pb2

        return model_server_config_pb2.ModelServerConfig
    if kind not in _NAMES:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: {kind!r}")
    return _classes()[_NAMES[kind]]


def parse(kind: str, text: str, source: str = "") -> Message:
    """Parses the text of a config file.

    Args:
        kind: One of `KINDS`.
        text: Protobuf text.
        source: Where the text is from, for the error: a path.

    Raises:
        UsageError: The text is not this message; says the line and column.
    """
    try:
        return text_format.Parse(text, message_class(kind)())
    except text_format.ParseError as e:
        reason = " ".join(str(e).split())[:300]
        if kind == "ssl":
            # The message quotes the line, which may hold the private key.
            reason = f"line {e.GetLine()}, column {e.GetColumn()}"
        raise UsageError(
            f"{source or 'text'}: is not a {kind} config of the model "
            f"server: {reason.replace(f'{_PACKAGE}.', '')}"
        ) from e


def read(kind: str, path: str) -> Message:
    """Reads and parses a config file.

    Args:
        kind: One of `KINDS`.
        path: A plain file of at most `MAX_FILE_BYTES`.

    Raises:
        UsageError: The file cannot be read, is larger, is not UTF-8, or is
            not such a config.
    """
    return parse(kind, read_text(path), path)


def read_text(path: str) -> str:
    """Reads a UTF-8 text file of at most `MAX_FILE_BYTES`.

    Raises:
        UsageError: As `read`.
    """
    try:
        # A pipe would block for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"{path}: is not a plain file; name a config file")
        with open(path, "rb") as f:
            data = f.read(MAX_FILE_BYTES + 1)
    except OSError as e:
        raise UsageError(
            f"{path}: cannot be read ({e.strerror}); name a file that exists"
        ) from e
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(
            f"{path}: is larger than {MAX_FILE_BYTES} bytes, which no config "
            "file of the server is"
        )
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise UsageError(
            f"{path}: is not UTF-8 text (byte {e.start}); name a config file"
        ) from e


def to_text(message: Message) -> str:
    """Returns a message as the text that `parse` and the server read."""
    return text_format.MessageToString(message, as_utf8=True)


def check_batching(params: Message, source: str = "") -> None:
    """Checks batching parameters by the real server's rules.

    Args:
        params: A BatchingParameters message.
        source: Where it is from, for the error.

    Raises:
        UsageError: A number is out of range, `allowed_batch_sizes` do not
            increase, or the last of them is not `max_batch_size`.
    """
    where = f"{source}: " if source else ""
    for name, low in (
        ("max_batch_size", 1),
        ("batch_timeout_micros", 0),
        ("max_enqueued_batches", 1),
        ("num_batch_threads", 1),
    ):
        # An int32 in the server's scheduler, but for the timeout.
        value = getattr(params, name).value
        if params.HasField(name) and not low <= value < 2**31:
            raise UsageError(
                f"{where}`{name}` must be {low} to {2**31 - 1}. "
                f"Received: {value}"
            )
    sizes = list(params.allowed_batch_sizes)
    if not sizes:
        return
    if sizes[0] < 1 or any(a >= b for a, b in itertools.pairwise(sizes)):
        raise UsageError(
            f"{where}`allowed_batch_sizes` must be positive and increase. "
            f"Received: {sizes}"
        )
    largest = max_batch_size(params)
    if sizes[-1] != largest:
        raise UsageError(
            f"{where}the last of `allowed_batch_sizes` must be "
            f"`max_batch_size`, {largest}. Received: {sizes[-1]}"
        )


def max_batch_size(params: Message) -> int:
    """Returns the largest batch that these parameters allow, in rows."""
    if params.HasField("max_batch_size"):
        return params.max_batch_size.value
    return DEFAULT_MAX_BATCH_SIZE


@functools.cache
def _classes() -> dict[str, type[Message]]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="emorec/serving_configs.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            field = message.field.add(name=field_name, number=number)
            field.label = _FIELD.LABEL_OPTIONAL
            if kind.startswith("[]"):
                field.label, kind = _FIELD.LABEL_REPEATED, kind[2:]
            if kind.startswith("."):
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, kind
            else:
                field.type = getattr(_FIELD, f"TYPE_{kind.upper()}")
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
        )
        for name in _SCHEMA
    }
