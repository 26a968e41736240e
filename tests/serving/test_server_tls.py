"""TLS on the gRPC port, from an SSLConfig."""

import http.client

import grpc
import pytest
from testing import pem_files
from testing.times_model import LONG_S, Caller

from emorec.errors import UsageError
from serving.configs import schemas
from serving.server.server import ModelServer

STATES = [(1, 30)]


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    return pem_files.write(tmp_path_factory.mktemp("pem"))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Of another authority."""
    return pem_files.write(tmp_path_factory.mktemp("others"))


def ssl_config(pems, **changes):
    values = {
        "server_key": pems.key.read_text(),
        "server_cert": pems.cert.read_text(),
    }
    return schemas.message_class("ssl")(**{**values, **changes})


@pytest.fixture
def serve(toy_base, pems):
    servers = []

    def start(**changes):
        ssl = ssl_config(pems, **changes)
        server = ModelServer(str(toy_base), "toy", port=0, rest_port=0, ssl=ssl)
        servers.append(server.start())
        return server

    yield start
    for server in servers:
        server.stop()


def states(server, *pems):
    """What a client with these PEM files (ca, key, cert) is told."""
    credentials = grpc.ssl_channel_credentials(
        *(path.read_bytes() for path in pems)
    )
    address = f"127.0.0.1:{server.port}"
    with grpc.secure_channel(address, credentials) as channel:
        return Caller(server, channel).states("toy")


def code(server, *pems):
    with pytest.raises(grpc.RpcError) as raised:
        states(server, *pems)
    return raised.value.code()


def test_tls(serve, pems, others):
    server = serve()
    assert states(server, pems.ca) == STATES
    assert code(server, others.ca) == grpc.StatusCode.UNAVAILABLE
    # Nobody is heard who speaks in the clear.
    caller = Caller(server)
    with caller.channel, pytest.raises(grpc.RpcError) as raised:
        caller.states("toy")
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    # REST has no TLS, as the real server's has none.
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.rest_port, timeout=LONG_S
    )
    connection.request("GET", "/v1/models/toy")
    assert connection.getresponse().status == 200
    connection.close()


def test_mutual_tls(serve, pems, others):
    server = serve(custom_ca=pems.ca.read_text(), client_verify=True)
    assert states(server, pems.ca, pems.client_key, pems.client_cert) == STATES
    assert code(server, pems.ca) == grpc.StatusCode.UNAVAILABLE
    stranger = (others.client_key, others.client_cert)
    assert code(server, pems.ca, *stranger) == grpc.StatusCode.UNAVAILABLE


def test_an_authority_alone_asks_clients_for_nothing(serve, pems):
    server = serve(custom_ca=pems.ca.read_text())
    assert states(server, pems.ca) == STATES


NO_PAIR = (
    "`ssl`: `server_key` and `server_cert`: are not a private key (not "
    "encrypted) and its certificate, both PEM ("
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"server_key": ""}, NO_PAIR),
        ({"server_cert": "no PEM"}, NO_PAIR),
        ({"server_key": "another"}, NO_PAIR),
        (
            {"custom_ca": "no PEM"},
            "`ssl`: `server_key` and `server_cert`: the authority is no "
            "certificate in PEM (",
        ),
        (
            {"client_verify": True},
            "`ssl`: `client_verify` needs `custom_ca`, the authority that "
            "the clients' certificates are from",
        ),
    ],
)
def test_texts_that_do_not_do(toy_base, pems, others, changes, message):
    if changes == {"server_key": "another"}:
        changes = {"server_key": others.key.read_text()}
    ssl = ssl_config(pems, **changes)
    with pytest.raises(UsageError) as raised:
        ModelServer(str(toy_base), "toy", port=0, ssl=ssl)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert "PRIVATE KEY" not in str(raised.value)
