"""`emorec serving_config`: what it prints, and its exit codes."""

import pytest
from testing import commands, pem_files


@pytest.fixture
def here(capsys):
    return lambda *args: commands.here(capsys, "serving_config", *args)


def test_write_and_check(here, tmp_path):
    pems = pem_files.write(tmp_path)
    base = tmp_path / "emotion"
    (base / "3").mkdir(parents=True)
    out = tmp_path / "out"
    given = [
        f"--output_dir={out}",
        "--model",
        f"emotion={base}",
        "--model=other=/no/such",
        "--label=emotion:stable=3",
        f"--tls_cert={pems.cert}",
        f"--tls_key={pems.key}",
        f"--request_log_prefix={tmp_path}/log/r",
    ]
    done = here(*given)
    assert (done.code, done.err) == (0, "")
    *lines, note = done.out.splitlines()
    assert sorted(lines) == sorted(map(str, out.iterdir()))
    assert note == (
        "note: /no/such is not on this machine; a server waits for it"
    )
    assert (out / "ssl.config").stat().st_mode & 0o777 == 0o600
    done = here("--check", out)
    assert (done.code, done.out) == (0, f"{out}: nothing found\n")
    done = here(*given)
    assert done.code == 0
    assert done.out.endswith("all files are there already, with this text\n")
    fault = here(*given, "--port=8600").fault()
    assert "would change; --overwrite replaces what is there" in fault
    assert here(*given, "--port=8600", "--overwrite").code == 0
    assert "--port=8600" in (out / "COMMANDS.txt").read_text()


def test_findings_are_lines(here, tmp_path):
    (tmp_path / "models.config").write_text("a")
    (tmp_path / "batching.txt").write_text("max_batch_size {}")
    done = here("--check", tmp_path)
    assert (done.code, done.out) == (1, "")
    assert [line.split(": ")[0] for line in done.err.splitlines()] == [
        f"{tmp_path}/batching.txt",
        f"{tmp_path}/models.config",
    ]


def test_a_measured_batching_file(here, tmp_path):
    measured = tmp_path / "measured.txt"
    given = ["--model=a=/a", f"--batching_parameters_file={measured}"]
    given.append(f"--output_dir={tmp_path}/out")
    measured.write_text("max_batch_size { value: 4 } allowed_batch_sizes: 2")
    done = here(*given)
    assert done.code == 2
    assert "must be `max_batch_size`, 4. Received: 2" in done.fault()
    measured.write_text("# measured\nmax_batch_size { value: 4 }")
    assert here(*given).code == 0
    taken = (tmp_path / "out" / "batching_parameters.txt").read_text()
    assert taken == measured.read_text()


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "name --output_dir for the files, or --check them"),
        (["--check"], "--check needs files or folders of them"),
        (["--output_dir=x"], "name a model: --model=NAME=/path/of/it"),
        (["--output_dir=x", "--model=a"], "`--model` must be NAME=/base/path"),
        (["--output_dir=x", "y"], "y"),
        (["--output_dir=x", "--tls_key=k"], "--tls_cert belong together"),
        (
            ["--output_dir=x", "--tls_key=", "--tls_cert="],
            "--tls_cert belong together",
        ),
        (["--output_dir=x", "--client_verify"], "need --tls_key and --tls_c"),
        (["--output_dir=x", "--cpus=many"], "--cpus"),
    ],
)
def test_wrong_flags(here, monkeypatch, tmp_path, args, message):
    monkeypatch.chdir(tmp_path)
    done = here(*args)
    assert done.code == 2
    assert message in done.fault()
    assert not list(tmp_path.iterdir())
