"""Batching over a real port, with the real server's own messages."""

import contextlib

import grpc
import numpy as np
import pytest
import tensorflow as tf
from testing import batch_model
from testing.batch_model import NEVER_MICROS, TIMEOUT_S, parameters, request

INVALID = grpc.StatusCode.INVALID_ARGUMENT
FAILED = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture(scope="module")
def batch_base(tmp_path_factory):
    return batch_model.save(tmp_path_factory.mktemp("batch") / "m")


@pytest.fixture(scope="module")
def fours(batch_base):
    """Batches of 4, which wait until they are full."""
    params = parameters(
        max_batch_size=4, batch_timeout_micros=NEVER_MICROS, num_batch_threads=1
    )
    with batch_model.served(batch_base, params) as stub:
        yield stub


@pytest.fixture(scope="module")
def at_once(batch_base):
    """Batches of 2 or 4 that wait for nobody."""
    params = parameters(2, 4, max_batch_size=4, batch_timeout_micros=0)
    with batch_model.served(batch_base, params) as stub:
        yield stub


def ask(stub, *args, **kwargs):
    """Sends several requests at once; returns their calls."""
    return [
        stub.Predict.future(r, timeout=TIMEOUT_S, wait_for_ready=True)
        for r in args
    ]


def values(call, name):
    return tf.make_ndarray(call.result().outputs[name]).tolist()


def refused(call):
    """Returns the code and text of a call that fails."""
    error = call.exception()
    assert error is not None, call.result()
    return error.code(), error.details()


def test_requests_run_as_one_batch_and_get_their_own_rows(fours):
    calls = ask(
        fours,
        request({"x": [[1.0, 2.0]]}),
        request({"x": [[3.0, 4.0], [5.0, 6.0]]}),
        request({"x": [[7.0, 8.0]]}),
    )
    assert [values(c, "rows") for c in calls] == [[4], [4, 4], [4]]
    assert [values(c, "x") for c in calls] == [
        [[1, 2]],
        [[3, 4], [5, 6]],
        [[7, 8]],
    ]


def test_a_batch_is_filled_up_to_an_allowed_size_with_its_first_row(at_once):
    (call,) = ask(at_once, request({"x": [[5.0]]}))
    assert values(call, "rows") == [2]
    assert values(call, "sums") == [10]
    (call,) = ask(at_once, request({"x": [[5.0], [1.0], [1.0]]}))
    assert values(call, "rows") == [4, 4, 4]
    assert values(call, "sums") == [12, 12, 12]
    assert values(call, "x") == [[5], [1], [1]]


def test_without_allowed_sizes_nothing_is_filled_up(batch_base):
    params = parameters(max_batch_size=4)
    with batch_model.served(batch_base, params) as stub:
        (call,) = ask(stub, request({"x": [[5.0], [1.0], [1.0]]}))
        assert values(call, "rows") == [3, 3, 3]


def test_requests_for_other_outputs_wait_in_other_queues(batch_base):
    params = parameters(
        max_batch_size=2, batch_timeout_micros=NEVER_MICROS, num_batch_threads=1
    )
    with batch_model.served(batch_base, params) as stub:
        calls = ask(
            stub,
            request({"x": [[1.0]]}),
            request({"x": [[2.0]]}, outputs=["sums", "rows"]),
            request({"x": [[10.0]]}),
            # The order of the names makes no queue of its own.
            request({"x": [[20.0]]}, outputs=["rows", "sums"]),
        )
        assert [values(c, "sums") for c in calls] == [[11], [22], [11], [22]]
        assert sorted(calls[0].result().outputs) == ["rows", "sums", "x"]
        assert sorted(calls[1].result().outputs) == ["rows", "sums"]


@pytest.mark.parametrize("rows", [5, 33])
def test_more_rows_than_a_batch_are_refused(fours, rows):
    (call,) = ask(fours, request({"x": np.ones((rows, 1))}))
    assert refused(call) == (
        INVALID,
        f"Task size {rows} is larger than maximum input batch size 4",
    )


@pytest.mark.parametrize(
    "inputs, signature, message",
    [
        (
            {"x": np.ones((0, 1))},
            "",
            "Batching Run() input tensors must have at least one row; "
            "send a batch of 1 or more",
        ),
        (
            {"a": 1.0, "b": 2.0},
            "add",
            "Batching Run() input tensors must have at least one dimension",
        ),
        (
            {"a": [1.0], "b": [1.0, 2.0]},
            "add",
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
        (
            {"x": [b"text"]},
            "",
            "Expects arg[0] to be float but string is provided",
        ),
    ],
)
def test_what_cannot_be_in_a_batch_is_refused(
    fours, inputs, signature, message
):
    # `fours` would wait for ever: it is refused before it is queued.
    (call,) = ask(fours, request(inputs, signature))
    assert refused(call) == (INVALID, message)


def test_other_shapes_in_one_batch_fail_all_of_it(batch_base):
    params = parameters(max_batch_size=2, batch_timeout_micros=NEVER_MICROS)
    with batch_model.served(batch_base, params) as stub:
        calls = ask(stub, request({"x": [[1.0, 2.0]]}), request({"x": [[1.0]]}))
        for call in calls:
            code, details = refused(call)
            assert code == FAILED
            assert details.startswith(
                "Tensors with name 'x' from different tasks have different "
                "shapes and padding is turned off."
            )
            assert "Set pad_variable_length_inputs to true" in details


def test_other_shapes_are_filled_up_with_the_first_value(batch_base):
    params = parameters(
        max_batch_size=2, batch_timeout_micros=NEVER_MICROS, pad=True
    )
    with batch_model.served(batch_base, params) as stub:
        long, short = ask(
            stub, request({"x": [[1.0, 2.0, 3.0]]}), request({"x": [[4.0]]})
        )
        assert values(long, "x") == [[1, 2, 3]]
        assert values(short, "x") == [[4, 4, 4]]
        empty, one = ask(
            stub, request({"x": np.ones((1, 0))}), request({"x": [[4.0]]})
        )
        assert refused(empty) == (
            INVALID,
            "Got empty tensor in batch of non-empty tensors.",
        )
        assert refused(one)[0] == INVALID
        calls = ask(
            stub,
            request({"a": [1.0], "b": [1.0]}, "add"),
            request({"a": [[1.0]], "b": [[1.0]]}, "add"),
        )
        for call in calls:
            assert refused(call) == (
                FAILED,
                "Tensors with name 'a' from different tasks have different "
                "ranks, which padding does not mend.",
            )


@pytest.mark.parametrize(
    "signature, message",
    [
        ("total", "Batched output tensor has 0 dimensions"),
        (
            "tail",
            "Batched output tensor's 0th dimension does not equal the sum of "
            "the 0th dimension sizes of the input tensors",
        ),
    ],
)
def test_outputs_that_are_not_rows_are_refused(at_once, signature, message):
    (call,) = ask(at_once, request({"x": [1.0, 2.0]}, signature))
    assert refused(call) == (FAILED, message)


def test_a_request_that_fails_does_not_fail_its_neighbours(fours):
    calls = ask(
        fours,
        request({"x": [1.0]}, "positive"),
        request({"x": [-1.0]}, "positive"),
        request({"x": [2.0, 3.0]}, "positive"),
    )
    code, details = refused(calls[1])
    assert code == INVALID
    assert "x > 0 did not hold" in details
    assert values(calls[0], "rows") == [1]
    assert values(calls[2], "rows") == [2, 2]


def test_a_full_queue_is_resource_exhausted(batch_base, pipe):
    params = parameters(
        max_batch_size=1, max_enqueued_batches=1, num_batch_threads=1
    )
    with (
        batch_model.served(batch_base, params) as stub,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(pipe.release)
        # One runs, one waits at most.
        blocked = request({"path": [pipe.path]}, "block")
        calls = ask(stub, *[blocked] * 5)
        refusals = batch_model.first_done(calls, 3)
        for call in refusals:
            assert refused(call) == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "The batch scheduling queue to which this task was submitted "
                "is full",
            )
        # Another queue is not full; it waits for the thread.
        (other,) = ask(stub, request({"x": [[1.0]]}))
        pipe.release()
        assert values(other, "rows") == [1]
        answered = [c for c in calls if c not in refusals]
        assert answered
        assert [values(c, "done") for c in answered] == [[1]] * len(answered)


def test_without_batching_requests_run_by_themselves(batch_base):
    with batch_model.served(batch_base, None) as stub:
        calls = ask(
            stub,
            request({"x": np.ones((33, 1))}),
            request({"x": np.ones((0, 1))}),
            request({"x": [1.0]}, "total"),
        )
        assert values(calls[0], "rows") == [33] * 33
        assert values(calls[1], "rows") == []
        assert values(calls[2], "total") == 1
