"""The light messages against the real ones, and tensors both ways."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import unknown_fields
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from serving import tensors
from serving.client import messages as light

ARRAYS = {
    "f32": np.array([[1.5, -2], [np.inf, 0]], np.float32),
    "f64": np.array(0.1),
    "f16": np.array([0.5, -2], np.float16),
    "u8": np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
    "u16": np.array([65535], np.uint16),
    "i8": np.array([-128, 127], np.int8),
    "i16": np.array([-5], np.int16),
    "i32": np.array([-(2**31)], np.int32),
    "u32": np.array([2**32 - 1], np.uint32),
    "i64": np.array([2**62, -1]),
    "u64": np.array([2**64 - 1], np.uint64),
    "flag": np.array([True, False]),
    "text": np.array([[b"a", b""], [b"\xff\x00", b"long" * 100]], object),
    "none": np.zeros((0, 3), np.float32),
}


def same(ours, theirs):
    """Each parses the other's bytes to an equal message."""
    ours_bytes = ours.SerializeToString(deterministic=True)
    assert ours_bytes == theirs.SerializeToString(deterministic=True)
    parsed = type(theirs).FromString(ours_bytes)
    assert parsed == theirs
    assert type(ours).FromString(ours_bytes) == ours
    assert not list(unknown_fields.UnknownFieldSet(ours))


def test_every_field_has_its_number_and_type_in_the_real_messages():
    modules = [
        predict_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_pb2,
    ]
    pool = modules[0].DESCRIPTOR.pool
    for full_name in light._SCHEMA:
        real = pool.FindMessageTypeByName(full_name)
        name = full_name.rpartition(".")[2]
        ours = getattr(light.messages(), name).DESCRIPTOR
        assert ours.full_name == real.full_name
        for field in ours.fields:
            theirs = real.fields_by_name[field.name]
            assert field.number == theirs.number, (full_name, field.name)
            assert field.label == theirs.label, (full_name, field.name)
            is_enum = theirs.enum_type is not None
            assert is_enum or field.type == theirs.type, field.name


@pytest.mark.parametrize("content", [False, True])
def test_predict_request_and_response(content):
    m = light.messages()
    ours, theirs = m.PredictRequest(), predict_pb2.PredictRequest()
    for message in (ours, theirs):
        message.model_spec.name = "toy"
        message.model_spec.version.value = 3
        message.model_spec.signature_name = "s"
        message.output_filter.append("a")
        for name, array in ARRAYS.items():
            tensors.fill(message.inputs[name], array, content=content)
    same(ours, theirs)
    answer = predict_pb2.PredictResponse(model_spec=theirs.model_spec)
    light_answer = m.PredictResponse(model_spec=ours.model_spec)
    for name, array in ARRAYS.items():
        tensors.fill(answer.outputs[name], array)
        tensors.fill(light_answer.outputs[name], array)
    same(light_answer, answer)


def test_status_and_metadata_parse_as_the_real_ones():
    m = light.messages()
    theirs = get_model_status_pb2.GetModelStatusResponse()
    version = theirs.model_version_status.add(version=7, state="END")
    version.status.error_code = 13
    version.status.error_message = "broken"
    ours = m.GetModelStatusResponse.FromString(theirs.SerializeToString())
    same(ours, theirs)
    assert ours.model_version_status[0].state == 50

    signatures = get_model_metadata_pb2.SignatureDefMap()
    signature = signatures.signature_def["s"]
    signature.method_name = "tensorflow/serving/predict"
    signature.inputs["x"].name = "x:0"
    signature.inputs["x"].dtype = 1
    signature.outputs["y"].tensor_shape.dim.add(size=-1)
    theirs = get_model_metadata_pb2.GetModelMetadataResponse()
    theirs.metadata["signature_def"].Pack(signatures)
    ours = m.GetModelMetadataResponse.FromString(theirs.SerializeToString())
    same(ours, theirs)
    same(
        m.SignatureDefMap.FromString(ours.metadata["signature_def"].value),
        signatures,
    )


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("content", [False, True])
def test_tensors_read_as_tensorflow_reads_them(name, content):
    array = ARRAYS[name]
    proto = tensor_pb2.TensorProto()
    tensors.fill(proto, array, content=content)
    for found in (tf.make_ndarray(proto), tensors.to_array(proto, 1 << 20)):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    theirs = tf.make_tensor_proto(array)
    np.testing.assert_array_equal(tensors.to_array(theirs, 1 << 20), array)


def typed(dtype, sizes, **fields):
    proto = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (typed(1, [2, 2], float_val=[3, 4]), [[3, 4], [4, 4]]),
        (typed(1, [2]), [0, 0]),
        (typed(1, [1], float_val=[3, 4]), [3]),
        (typed(3, [3], int_val=[-1]), [-1, -1, -1]),
        (typed(4, [2], int_val=[7]), [7, 7]),
        (typed(10, [2], bool_val=[True]), [True, True]),
        (typed(9, [], int64_val=[5]), 5),
        (typed(7, [2], string_val=[b"a"]), [b"a", b"a"]),
        (typed(7, [2]), [b"", b""]),
        (typed(7, [2], tensor_content=b"\x01\x02abc"), [b"a", b"bc"]),
        (
            typed(7, [1], tensor_content=b"\xac\x02" + b"x" * 300),
            [b"x" * 300],
        ),
        (typed(10, [2], tensor_content=b"\x01\x00"), [True, False]),
        (typed(19, [2], half_val=[0x3C00]), [1.0, 1.0]),
    ],
)
def test_short_lists_and_content(proto, expected):
    found = tensors.to_array(proto, 1 << 20)
    assert found.tolist() == expected
    real = tf.io.parse_tensor(
        proto.SerializeToString(), tf.as_dtype(proto.dtype)
    ).numpy()
    assert real.tolist() == found.tolist()


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (typed(0, []), "tensors of type 0 cannot be read"),
        (typed(1, [-1]), "the shape of a value must be known"),
        (typed(1, [2**40]), "exceeds 1048576 bytes"),
        (typed(1, [2], tensor_content=b"abc"), "3 bytes do not fill 2 val"),
        (typed(7, [2], tensor_content=b"\x01"), "lengths are cut short"),
        (typed(7, [1], tensor_content=b"\x05ab"), "do not fit their bytes"),
        (typed(7, [1], tensor_content=b"\xff" * 9), "lengths are cut short"),
        (typed(10, [1], tensor_content=b"\x02"), "a bool is 0 or 1"),
    ],
)
def test_tensors_that_cannot_be_read(proto, message):
    with pytest.raises(ValueError) as raised:
        tensors.to_array(proto, 1 << 20)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "array", [np.array([1j]), np.array([None]), np.array(["1"], "M8[s]")]
)
def test_arrays_that_cannot_be_sent(array):
    with pytest.raises(ValueError, match=r"cannot be sent|holds NoneType"):
        tensors.fill(tensor_pb2.TensorProto(), array)
