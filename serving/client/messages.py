"""The messages of TensorFlow Serving's API that a client needs.

Built at first use from the schema below, which repeats the public field
numbers, so that a client needs no TensorFlow (its own, tensorflow-serving-api,
imports all of it: 5 s). They live in a descriptor pool of their own: in the
default pool they would clash with TensorFlow's in one process.

Enums are int32 here, which is the same on the wire.
"""

import functools
import types

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

_FIELD = descriptor_pb2.FieldDescriptorProto

# message: {field: (number, type)}. `[]` is repeated; `{}` is a map from
# string; a type with a capital letter is a message of this table.
_SCHEMA = {
    "google.protobuf.Any": {
        "type_url": (1, "string"),
        "value": (2, "bytes"),
    },
    "google.protobuf.Int64Value": {"value": (1, "int64")},
    "tensorflow.TensorShapeProto": {
        "dim": (2, "[]tensorflow.TensorShapeProto.Dim"),
        "unknown_rank": (3, "bool"),
    },
    "tensorflow.TensorShapeProto.Dim": {
        "size": (1, "int64"),
        "name": (2, "string"),
    },
    "tensorflow.TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "tensorflow.TensorShapeProto"),
        "version_number": (3, "int32"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "[]float"),
        "double_val": (6, "[]double"),
        "int_val": (7, "[]int32"),
        "string_val": (8, "[]bytes"),
        "int64_val": (10, "[]int64"),
        "bool_val": (11, "[]bool"),
        "half_val": (13, "[]int32"),
        "uint32_val": (16, "[]uint32"),
        "uint64_val": (17, "[]uint64"),
    },
    "tensorflow.TensorInfo": {
        "name": (1, "string"),
        "dtype": (2, "int32"),
        "tensor_shape": (3, "tensorflow.TensorShapeProto"),
    },
    "tensorflow.SignatureDef": {
        "inputs": (1, "{}tensorflow.TensorInfo"),
        "outputs": (2, "{}tensorflow.TensorInfo"),
        "method_name": (3, "string"),
    },
    "tensorflow.serving.ModelSpec": {
        "name": (1, "string"),
        "version": (2, "google.protobuf.Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "tensorflow.serving.PredictRequest": {
        "model_spec": (1, "tensorflow.serving.ModelSpec"),
        "inputs": (2, "{}tensorflow.TensorProto"),
        "output_filter": (3, "[]string"),
    },
    "tensorflow.serving.PredictResponse": {
        "outputs": (1, "{}tensorflow.TensorProto"),
        "model_spec": (2, "tensorflow.serving.ModelSpec"),
    },
    "tensorflow.serving.GetModelMetadataRequest": {
        "model_spec": (1, "tensorflow.serving.ModelSpec"),
        "metadata_field": (2, "[]string"),
    },
    "tensorflow.serving.GetModelMetadataResponse": {
        "model_spec": (1, "tensorflow.serving.ModelSpec"),
        "metadata": (2, "{}google.protobuf.Any"),
    },
    "tensorflow.serving.SignatureDefMap": {
        "signature_def": (1, "{}tensorflow.SignatureDef"),
    },
    "tensorflow.serving.GetModelStatusRequest": {
        "model_spec": (1, "tensorflow.serving.ModelSpec"),
    },
    "tensorflow.serving.GetModelStatusResponse": {
        "model_version_status": (1, "[]tensorflow.serving.ModelVersionStatus"),
    },
    "tensorflow.serving.ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "int32"),
        "status": (3, "tensorflow.serving.StatusProto"),
    },
    "tensorflow.serving.StatusProto": {
        "error_code": (1, "int32"),
        "error_message": (2, "string"),
    },
}


@functools.cache
def messages() -> types.SimpleNamespace:
    """Returns the message classes by their short names (`PredictRequest`)."""
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    built: dict[str, descriptor_pb2.DescriptorProto] = {}
    for full_name, fields in _SCHEMA.items():
        scope, _, name = full_name.rpartition(".")
        if scope in built:
            message = built[scope].nested_type.add(name=name)
        else:
            file = files.setdefault(
                scope,
                descriptor_pb2.FileDescriptorProto(
                    name=f"{scope}.proto", package=scope, syntax="proto3"
                ),
            )
            message = file.message_type.add(name=name)
        built[full_name] = message
        for field_name, (number, kind) in fields.items():
            _add_field(message, full_name, field_name, number, kind)
    pool = descriptor_pool.DescriptorPool()
    before: list[str] = []
    # In the order of the imports between them.
    for package in ("google.protobuf", "tensorflow", "tensorflow.serving"):
        files[package].dependency.extend(before)
        pool.AddSerializedFile(files[package].SerializeToString())
        before.append(files[package].name)
    return types.SimpleNamespace(
        **{
            full_name.rpartition(".")[2]: message_factory.GetMessageClass(
                pool.FindMessageTypeByName(full_name)
            )
            for full_name in _SCHEMA
        }
    )


def _add_field(message, scope: str, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number)
    prefix, kind = (kind[:2], kind[2:]) if kind[0] in "[{" else ("", kind)
    field.label = _FIELD.LABEL_REPEATED if prefix else _FIELD.LABEL_OPTIONAL
    if prefix == "{}":
        # A map is a repeated message of its keys and values.
        words = name.title().replace("_", "")
        entry = message.nested_type.add(name=f"{words}Entry")
        entry.options.map_entry = True
        _add_field(entry, scope, "key", 1, "string")
        _add_field(entry, scope, "value", 2, kind)
        kind = f"{scope}.{entry.name}"
    if kind.islower() and "." not in kind:
        field.type = getattr(_FIELD, f"TYPE_{kind.upper()}")
    else:
        field.type = _FIELD.TYPE_MESSAGE
        field.type_name = f".{kind}"
