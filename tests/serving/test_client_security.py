"""TLS, tokens, labels and tries of the client, against real ports."""

import asyncio
from concurrent import futures

import grpc
import numpy as np
import pytest
from testing import pem_files

from emorec.errors import UsageError
from serving.client import AsyncEmotionClient, EmotionClient, Tls, errors
from serving.client.messages import messages


class Server:
    """A gRPC server that gives scripted codes, and notes what it was sent."""

    def __init__(self, credentials=None):
        self.codes: list[grpc.StatusCode] = []
        self.calls: list[dict] = []
        self.specs: list = []
        self._pool = futures.ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool)
        m = messages()
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "tensorflow.serving.PredictionService",
                    {
                        "Predict": grpc.unary_unary_rpc_method_handler(
                            self._predict,
                            m.PredictRequest.FromString,
                            m.PredictResponse.SerializeToString,
                        )
                    },
                )
            ]
        )
        place = "127.0.0.1:0"
        self.port = (
            self._server.add_secure_port(place, credentials)
            if credentials
            else self._server.add_insecure_port(place)
        )
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def _predict(self, request, context):
        self.calls.append(dict(context.invocation_metadata()))
        self.specs.append(request.model_spec)
        if self.codes:
            context.abort(self.codes.pop(0), "as it was told")
        return messages().PredictResponse()

    def close(self):
        self._server.stop(None).wait()
        self._pool.shutdown()


@pytest.fixture
def plain():
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    return pem_files.write(tmp_path_factory.mktemp("pem"))


@pytest.fixture(scope="module")
def encrypted(pems):
    """A server that asks its clients for a certificate."""
    pair = (pems.key.read_bytes(), pems.cert.read_bytes())
    server = Server(
        grpc.ssl_server_credentials([pair], pems.ca.read_bytes(), True)
    )
    yield server
    server.close()


@pytest.fixture
def tls(pems):
    return Tls.from_files(pems.ca, pems.client_cert, pems.client_key)


X = {"x": np.ones(1, np.float32)}


def test_both_sides_are_known_and_the_token_travels(encrypted, tls):
    with EmotionClient(encrypted.address, tls=tls, token="abc") as client:
        assert client.predict("s", X) == {}
    assert encrypted.calls[-1]["authorization"] == "Bearer abc"

    async def talk():
        async with AsyncEmotionClient(encrypted.address, tls=tls) as client:
            return await client.predict("s", X)

    assert asyncio.run(talk()) == {}


def test_who_is_not_known_is_not_spoken_to(encrypted, tls, tmp_path):
    strangers = pem_files.write(tmp_path).ca.read_bytes()
    for wrong in (
        None,
        Tls(strangers, tls.certificate, tls.key),
        Tls(tls.ca),
        Tls(tls.ca, tls.certificate, tls.key, "another.example"),
    ):
        count = len(encrypted.calls)
        with (
            EmotionClient(encrypted.address, timeout_s=1, tls=wrong) as client,
            pytest.raises(errors.Unavailable, match=r"check the address"),
        ):
            client.predict("s", X)
        assert len(encrypted.calls) == count


def test_a_token_is_not_sent_in_the_clear(plain):
    with pytest.raises(UsageError) as raised:
        EmotionClient("example.com:8500", token="abc")
    assert str(raised.value) == (
        "`token` must not cross a network in the clear: give `tls` too. "
        "Received: the address example.com:8500"
    )
    assert "abc" not in str(raised.value)
    # gRPC would say INTERNAL at the first call, and print to stderr.
    for token in ("", "a b", "a\nb", "\xe9"):
        with pytest.raises(UsageError, match=r"`token` must be letters of"):
            EmotionClient(plain.address, token=token)
    with EmotionClient(plain.address, token="abc") as client:
        client.predict("s", X)
    assert plain.calls[0]["authorization"] == "Bearer abc"
    # Nor printed with what holds it.
    assert "abc" not in repr(client._calls)


def test_pem_files_that_are_none(tmp_path):
    (tmp_path / "a").write_text("words")
    with pytest.raises(UsageError, match=r"a: is not a PEM file"):
        Tls.from_files(tmp_path / "a")
    with pytest.raises(UsageError, match=r"b: cannot be read \(No such file"):
        Tls.from_files(tmp_path / "b")
    with pytest.raises(UsageError, match=r"both `certificate` and `key`"):
        EmotionClient("127.0.0.1:1", tls=Tls(certificate=b"x"))


CODE = grpc.StatusCode


def test_unavailable_is_tried_again_and_nothing_else(plain):
    with EmotionClient(plain.address, timeout_s=10) as client:
        plain.codes = [CODE.UNAVAILABLE] * 2
        client.predict("s", X)
        assert len(plain.calls) == 3
        for code in CODE:
            if code in (CODE.OK, CODE.UNAVAILABLE):
                continue
            plain.calls.clear()
            plain.codes = [code]
            with pytest.raises(errors.ServerError, match=code.name):
                client.predict("s", X)
            assert len(plain.calls) == 1


def test_tries_end_at_their_number_or_at_the_deadline(plain):
    plain.codes = [CODE.UNAVAILABLE] * 99
    with (
        EmotionClient(plain.address, timeout_s=10, tries=2) as client,
        pytest.raises(errors.Unavailable),
    ):
        client.predict("s", X)
    assert len(plain.calls) == 2
    plain.calls.clear()
    with (
        EmotionClient(plain.address, timeout_s=1) as client,
        pytest.raises(errors.Unavailable),
    ):
        client.predict("s", X)
    assert len(plain.calls) > 2
    # Within the deadline no try was left out: the last pause did not fit.
    assert len(plain.codes) == 99 - 2 - len(plain.calls)
    with pytest.raises(UsageError, match=r"`tries` must be 1 or more"):
        EmotionClient(plain.address, tries=0)


def test_a_version_or_a_label_is_asked_for(plain):
    with EmotionClient(plain.address, "m", label="stable") as client:
        client.predict("s", X)
    assert plain.specs[-1].version_label == "stable"
    assert not plain.specs[-1].HasField("version")
    with pytest.raises(UsageError, match=r"give `version` or `label`, not"):
        EmotionClient(plain.address, version=1, label="stable")
