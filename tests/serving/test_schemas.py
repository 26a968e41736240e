"""The schemas of the server's config files against their real text."""

import subprocess
import sys

import pytest
from testing import commands

from emorec.errors import UsageError
from serving.configs import schemas

BATCHING = """
# A comment.
max_batch_size { value: 32 }
batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 7 }
num_batch_threads { value: 2 }
thread_pool_name { value: "pool" }
allowed_batch_sizes: 1
allowed_batch_sizes: [8, 32]
pad_variable_length_inputs: true
"""


def test_batching():
    params = schemas.parse("batching", BATCHING)
    assert params.max_batch_size.value == 32
    assert params.HasField("batch_timeout_micros")
    assert params.batch_timeout_micros.value == 0
    assert params.max_enqueued_batches.value == 7
    assert params.num_batch_threads.value == 2
    assert params.thread_pool_name.value == "pool"
    assert params.allowed_batch_sizes == [1, 8, 32]
    assert params.pad_variable_length_inputs
    schemas.check_batching(params)
    assert schemas.parse("batching", schemas.to_text(params)) == params
    # The real numbers of the fields, so that bytes are compatible too.
    numbers = [f.number for f, _ in params.ListFields()]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]


def test_what_is_left_away():
    params = schemas.parse("batching", "")
    assert not params.HasField("max_batch_size")
    assert schemas.max_batch_size(params) == 1000
    schemas.check_batching(params)


def test_monitoring_and_ssl():
    text = 'prometheus_config { enable: true path: "/m" }'
    monitoring = schemas.parse("monitoring", text)
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/m"
    text = r'server_key: "a\nb" server_cert: "c" custom_ca: "d"'
    ssl = schemas.parse("ssl", f"{text} client_verify: true")
    assert (ssl.server_key, ssl.server_cert) == ("a\nb", "c")
    assert (ssl.custom_ca, ssl.client_verify) == ("d", True)
    assert schemas.parse("ssl", schemas.to_text(ssl)) == ssl


def test_models():
    text = 'model_config_list { config { name: "a" base_path: "/b" } }'
    config = schemas.parse("models", text)
    assert config.model_config_list.config[0].base_path == "/b"


@pytest.mark.parametrize(
    "kind, text, where",
    [
        ("batching", "max_batch_size: 32", '1:17 : .* Expected "{"'),
        ("batching", "\n\nmax_size: 1", '3:1 : .* no field named "max_size"'),
        ("batching", "allowed_batch_sizes: 'x'", "parse integer"),
        ("monitoring", "enable: true", '"MonitoringConfig" has no field'),
        ("models", "config {}", '"tensorflow.serving.ModelServerConfig"'),
        ("ssl", "server_key {", "line 1, column"),
    ],
)
def test_another_text(kind, text, where):
    wanted = f"^/a/file: is not a {kind} config of the model server: .*{where}"
    with pytest.raises(UsageError, match=wanted) as raised:
        schemas.parse(kind, text, "/a/file")
    assert "\n" not in str(raised.value)


def test_a_private_key_is_not_in_the_message():
    with pytest.raises(UsageError) as raised:
        schemas.parse("ssl", 'server_key: "SECRET" oops: "SECRET"')
    assert "SECRET" not in str(raised.value)
    with pytest.raises(UsageError) as raised:
        schemas.parse("ssl", 'server_key: "SECRET')
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("max_batch_size {}", "`max_batch_size` must be 1 to 2147483647. Rec"),
        ("num_batch_threads { value: 0 }", "`num_batch_threads` must be 1 to"),
        ("batch_timeout_micros { value: -1 }", "`batch_timeout_micros` must"),
        ("max_enqueued_batches { value: -3 }", "Received: -3"),
        (
            "max_batch_size { value: 4 } allowed_batch_sizes: [2, 1, 4]",
            "`allowed_batch_sizes` must be positive and increase. "
            "Received: [2, 1, 4]",
        ),
        (
            "max_batch_size { value: 4 } allowed_batch_sizes: [0, 4]",
            "Received: [0, 4]",
        ),
        (
            "max_batch_size { value: 4 } allowed_batch_sizes: [2, 2, 4]",
            "positive and increase",
        ),
        (
            "max_batch_size { value: 4 } allowed_batch_sizes: [1, 2]",
            "the last of `allowed_batch_sizes` must be `max_batch_size`, 4. "
            "Received: 2",
        ),
        ("allowed_batch_sizes: 32", "must be `max_batch_size`, 1000. Rec"),
    ],
)
def test_batching_that_the_real_server_refuses(text, message):
    params = schemas.parse("batching", text)
    with pytest.raises(UsageError) as raised:
        schemas.check_batching(params, "/a/b.txt")
    assert str(raised.value).startswith("/a/b.txt: ")
    assert message in str(raised.value)


def test_files(tmp_path):
    path = tmp_path / "batching.txt"
    path.write_text(BATCHING)
    assert schemas.read("batching", str(path)).max_batch_size.value == 32
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"is not UTF-8 text \(byte 0\)"):
        schemas.read("batching", str(path))
    path.write_bytes(b" " * (schemas.MAX_FILE_BYTES + 1))
    with pytest.raises(UsageError, match="is larger than 1048576 bytes"):
        schemas.read("batching", str(path))
    with pytest.raises(UsageError, match="is not a plain file"):
        schemas.read("batching", str(tmp_path))
    with pytest.raises(UsageError, match="No such file"):
        schemas.read("batching", str(tmp_path / "none"))


def test_a_kind_that_is_none():
    with pytest.raises(ValueError, match="`kind` must be one of"):
        schemas.message_class("platform")


def test_no_kind_needs_tensorflow():
    code = (
        "import sys; from serving.configs import schemas as s\n"
        "for kind in s.KINDS: s.message_class(kind)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=commands.environment()
    )
