"""Every generated file, parsed as its reader parses it."""

import pathlib
import re
import shlex

import kubernetes_validate
import pytest
import yaml
from testing import commands, pem_files

from emorec.errors import EmorecError, UsageError
from serving.configs import folder, plan, schemas, texts, tls
from serving.deploy import render

# Names that break YAML, compose's variables and shells unless quoted.
ODD = '/models/it\'s "$HOME": #1 ${x} é'
KINDS = ("ConfigMap", "Deployment", "Service")
KINDS += ("HorizontalPodAutoscaler", "PodDisruptionBudget")


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    return pem_files.write(tmp_path_factory.mktemp("pem"))


def made(**more):
    models = plan.parse_models(
        ["emotion=/models/emotion", f"odd={ODD}", "far=gs://bucket/far"],
        ["odd=all"],
        ["emotion:stable=3", "emotion:canary=4"],
    )
    return plan.Plan(models, **more)


@pytest.fixture(scope="module", params=["plain", "tls"])
def files(request, pems):
    """(whether with TLS, the texts by their names)."""
    secure = request.param == "tls"
    more = {}
    if secure:
        more["tls"] = tls.read(pems.key, pems.cert, pems.ca, True)
    content = folder.contents(made(log_prefix="/log/r", **more), "/a dir")
    return secure, content


def test_models(files):
    _, content = files
    config = schemas.parse("models", content["models.config"])
    emotion, odd, far = config.model_config_list.config
    assert (emotion.name, emotion.base_path) == ("emotion", "/models/emotion")
    assert emotion.model_platform == "tensorflow"
    assert dict(emotion.version_labels) == {"stable": 3, "canary": 4}
    assert emotion.model_version_policy.specific.versions == [3, 4]
    assert odd.base_path == ODD
    assert odd.model_version_policy.WhichOneof("policy_choice") == "all"
    assert far.base_path == "gs://bucket/far"
    assert far.model_version_policy.latest.num_versions == 1
    assert not any(m.HasField("logging_config") for m in (emotion, odd, far))


def test_request_logs_are_a_file_of_their_own(files):
    _, content = files
    text = content["models.logged.config"]
    assert "No request-logger-creator provided." in text
    for model in schemas.parse("models", text).model_config_list.config:
        logged = model.logging_config
        assert logged.log_collector_config.filename_prefix == "/log/r"
        assert logged.sampling_config.sampling_rate == pytest.approx(0.1)
    # No container may get it.
    for name, other in content.items():
        if name.endswith((".yml", ".yaml")):
            assert "logged" not in other


@pytest.mark.parametrize("name, threads", [("", 4), (".gpu", 2)])
def test_batching(files, name, threads):
    text = files[1][f"batching_parameters{name}.txt"]
    assert "NOT MEASURED" in text
    params = schemas.parse("batching", text)
    schemas.check_batching(params)
    assert params.num_batch_threads.value == threads
    # The server would pad a mask with its first value, True.
    assert not params.pad_variable_length_inputs


def test_the_warmup_requests_of_an_export_fit():
    from emorec.export import warmup

    assert texts.BATCH_SIZES == warmup.BATCH_SIZES


def test_a_measured_batching_file_is_taken_over():
    measured = "# p99 8 ms\nmax_batch_size { value: 4 }\n"
    content = folder.contents(made(batching=measured), "/d")
    for name in ("batching_parameters.txt", "batching_parameters.gpu.txt"):
        assert content[name] == measured
    for kind in ("cpu", "gpu"):
        objects = yaml.safe_load_all(content[f"kubernetes.{kind}.yaml"])
        data = next(iter(objects))["data"]
        (text,) = (t for name, t in data.items() if "batching" in name)
        assert text == measured


def test_monitoring(files):
    config = schemas.parse("monitoring", files[1]["monitoring.config"])
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_ssl(files, pems):
    secure, content = files
    if not secure:
        assert "ssl.config" not in content
        return
    config = schemas.parse("ssl", content["ssl.config"])
    assert config.server_key == pems.key.read_text()
    assert config.server_cert == pems.cert.read_text()
    assert config.custom_ca == pems.ca.read_text()
    assert config.client_verify
    # Where the key is, and nowhere else.
    line = pems.key.read_text().splitlines()[1]
    assert [n for n, text in content.items() if line in text] == ["ssl.config"]


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_compose(files, kind):
    # By its structure: `docker compose config` was not to be had.
    secure, content = files
    document = yaml.safe_load(content[f"docker-compose.{kind}.yml"])
    assert set(document) == {"name", "services"}
    (service,) = document["services"].values()
    suffix = "-gpu" if kind == "gpu" else ""
    assert service["image"] == f"tensorflow/serving:2.16.1{suffix}"
    assert service["entrypoint"] == ["tensorflow_model_server"]
    assert service["ports"] == ["127.0.0.1:8500:8500"] + (
        [] if secure else ["127.0.0.1:8501:8501"]
    )
    targets = {v["target"]: v for v in service["volumes"]}
    for arg in service["command"]:
        assert re.fullmatch(r"--[a-z_]+=\S+", arg), arg
        value = arg.partition("=")[2]
        if value.startswith("/"):
            source = targets[value]["source"]
            assert source.removeprefix("./") in content
    escaped = ODD.replace("$", "$$")
    assert targets[escaped]["source"] == escaped
    assert all(v["read_only"] for v in service["volumes"])
    assert not any("gs:" in target for target in targets)
    devices = service["deploy"]["resources"].get("reservations")
    if kind == "gpu":
        (device,) = devices["devices"]
        assert device["capabilities"] == ["gpu"]
        assert service["environment"] == {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        assert "--per_process_gpu_memory_fraction=0.9" in service["command"]
    else:
        assert devices is None and "environment" not in service
        limits = service["deploy"]["resources"]["limits"]
        assert limits == {"cpus": "4", "memory": "4g"}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
@pytest.mark.parametrize("version", ["1.27", "1.30"])
def test_manifests(files, kind, version):
    text = files[1][f"kubernetes.{kind}.yaml"]
    objects = list(yaml.safe_load_all(text))
    assert tuple(o["kind"] for o in objects) == KINDS
    for found in objects:
        kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_what_the_pods_are(files, kind):
    secure, content = files
    text = content[f"kubernetes.{kind}.yaml"]
    configs, deployment, service, scaler, _ = yaml.safe_load_all(text)
    pod = deployment["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    assert "replicas" not in deployment["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert server["securityContext"]["readOnlyRootFilesystem"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if secure:
            # A gRPC probe cannot speak TLS.
            asked = {"path": "/v1/models/emotion", "port": "http"}
            assert server[probe]["httpGet"] == asked
        else:
            assert server[probe]["grpc"] == {"port": 8500}
    assert "--enable_grpc_healthcheck_service=true" in server["args"]
    limits = server["resources"]["limits"]
    assert limits.get("nvidia.com/gpu") == (1 if kind == "gpu" else None)
    fraction = "--per_process_gpu_memory_fraction=0.9" in server["args"]
    assert fraction == (kind == "gpu")
    assert "TF_XLA_FLAGS" in text  # Told of in a comment.
    # The texts survive YAML, under the paths that a container sees.
    models = schemas.parse("models", configs["data"]["models.config"])
    assert [m.base_path for m in models.model_config_list.config] == [
        "/models/emotion",
        "/models/odd",
        "gs://bucket/far",
    ]
    open_ports = {p["name"] for p in service["spec"]["ports"]}
    assert open_ports == ({"grpc"} if secure else {"grpc", "http"})
    (metric,) = scaler["spec"]["metrics"]
    values = yaml.safe_load(content["prometheus_adapter.yaml"])
    (rule,) = values["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert ":tensorflow:serving:request_count" in rule["seriesQuery"]


def test_a_changed_config_makes_new_pods():
    def annotation(**more):
        text = render.kubernetes(made(**more), gpu=False)
        deployment = list(yaml.safe_load_all(text))[1]
        annotations = deployment["spec"]["template"]["metadata"]["annotations"]
        return annotations["emorec/config-sha256"]

    assert annotation() == annotation(memory="8Gi") != annotation(cpus=2)


def test_command_lines(files):
    secure, content = files
    text = content["COMMANDS.txt"].replace("\\\n", " ")
    lines = [shlex.split(x, comments=True) for x in text.splitlines()]
    lines = [x for x in lines if x]
    assert [x[0] for x in lines] == (
        ["tensorflow_model_server", *["emorec"] * 2]
        + ["docker"] * 2
        + ["kubectl"] * 2
    )
    assert lines[1][2:] == lines[0][1:]
    for words in lines:
        for word in words:
            path = word.rpartition("=")[2]
            if path.startswith("/"):
                assert path.removeprefix("/a dir/") in content
    assert ("--ssl_config_file=/a dir/ssl.config" in lines[0]) == secure


def test_the_images_are_of_setup_pys_tensorflow():
    text = (commands.ROOT / "setup.py").read_text()
    minor = re.search(r'"tensorflow>=(\d+\.\d+)\.', text)[1]
    assert plan.IMAGE.startswith(f"tensorflow/serving:{minor}.")
    holders = [
        path
        for path in pathlib.Path(commands.ROOT / "serving").rglob("*")
        if path.is_file()
        and path.suffix != ".pyc"
        and re.search(r"tensorflow/serving:\d", path.read_text())
    ]
    assert [p.name for p in holders] == ["plan.py"]


@pytest.mark.parametrize(
    "models, versions, labels, message",
    [
        (["a"], [], [], "`--model` must be NAME=/base/path. Received: 'a'"),
        (["a=b/c"], [], [], "must name an absolute base path or a URI"),
        (["a=/b\n"], [], [], "in printable letters"),
        (["a=/"], [], [], "must name the folder of the version folders"),
        (["a=/b/../c"], [], [], "without `..`"),
        (["a b=/c"], [], [], "`--model` must be a name of letters, digits"),
        (["a=/b", "a=/c"], [], [], "names 'a' more than once"),
        (["a=/b"], ["a=0"], ["c:x=1"], "names the model 'c', which no --mo"),
        (["a=/b"], ["a=new"], [], "`--versions` must be NAME=latest:2, NAME="),
        (["a=/b"], ["a=latest:0"], [], "Received: 'a=latest:0'"),
        (["a=/b"], ["a=1", "a=2"], [], "`--versions` names 'a' more than"),
        (["a=/b"], [], ["a:x"], "`--label` must be NAME:LABEL=VERSION. Rec"),
        (["a=/b"], [], ["a:x y=1"], "`--label` must be a label of letters"),
        (["a=/b"], [], ["a:x=1", "a:x=2"], "names a:x more than once"),
    ],
)
def test_models_that_are_none(models, versions, labels, message):
    with pytest.raises(UsageError) as raised:
        plan.parse_models(models, versions, labels)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("models", (), "name a model"),
        ("port", 0, "`--port` must be 1 to 65535. Received: 0"),
        ("rest_port", 8500, "must differ. Received: 8500 twice"),
        ("min_replicas", 9, "`--min_replicas` must be 1 to 8. Received: 9"),
        ("gpu_memory_fraction", 2.0, "`--gpu_memory_fraction` must be 0.01"),
        ("app", "A_b", "`--app` must be lower case letters, digits and -"),
        ("model_claim", "-", "`--model_claim` must be lower case letters"),
        ("memory", "4GB", "`--memory` must be a number and Mi or Gi. Rec"),
        ("log_prefix", "logs/r", "must be an absolute path"),
        ("batching", "# \x07\n", "`--batching_parameters_file` must be text"),
    ],
)
def test_values_that_do_not_fit(field, value, message):
    with pytest.raises(UsageError) as raised:
        made(**{field: value}) if field != "models" else plan.Plan(value)
    assert message in str(raised.value)


def test_pem_files_that_do_not_fit(pems, tmp_path):
    with pytest.raises(UsageError, match="are not a private key .* and its"):
        tls.read(pems.client_key, pems.cert, "", False)
    with pytest.raises(UsageError, match="authority is no certificate in PEM"):
        tls.read(pems.key, pems.cert, pems.key, False)
    with pytest.raises(UsageError, match="`--client_verify` needs --tls_ca"):
        tls.read(pems.key, pems.cert, "", True)
    with pytest.raises(UsageError, match="cannot be read"):
        tls.read(tmp_path / "none", pems.cert, "", False)
    line = pems.key.read_text().splitlines()[1]
    assert line not in repr(tls.read(pems.key, pems.cert, "", False))


def test_all_or_nothing(tmp_path, full_disk):
    with full_disk(2000), pytest.raises(EmorecError, match="cannot be writt"):
        folder.write(made(), tmp_path)
    assert not list(tmp_path.iterdir())
    new = folder.write(made(), tmp_path)
    assert sorted(new) == sorted(p.name for p in tmp_path.iterdir())
    assert folder.write(made(), tmp_path) == []
    with pytest.raises(EmorecError) as raised:
        folder.write(made(cpus=2), tmp_path)
    assert "batching_parameters.txt, " in str(raised.value)
    assert "would change; --overwrite replaces" in str(raised.value)
    assert folder.write(made(), tmp_path) == []
    changed = folder.write(made(cpus=2), tmp_path, overwrite=True)
    assert "batching_parameters.txt" in changed
    assert "models.config" not in changed


def test_what_a_check_finds_is_not_written(tmp_path):
    # The labelled version is not among those in the folder.
    base = tmp_path / "model"
    (base / "1").mkdir(parents=True)
    models = plan.parse_models([f"a={base}"], ["a=all"], ["a:new=2"])
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(EmorecError) as raised:
        folder.write(plan.Plan(models), out)
    assert str(raised.value) == (
        "nothing was written, 1 finding; the first: models.config: model "
        "'a': label 'new' is version 2, which is not served: the version "
        "policy gives [1]"
    )
    assert not list(out.iterdir())
