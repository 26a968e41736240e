"""What `emorec serving_config --check` finds in files that were changed."""

import sys

import pytest
from testing import pem_files

from emorec.errors import UsageError
from serving.configs import folder, plan, tls
from serving.deploy import check


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """The files of a plan with labels and TLS off, by their names."""
    models = plan.parse_models(
        ["emotion=/models/emotion", "face=/models/face"],
        [],
        ["emotion:stable=3"],
    )
    return folder.contents(plan.Plan(models, log_prefix="/log/r"), "/d")


@pytest.fixture
def written(texts, tmp_path):
    """Writes the files, with one of them changed."""

    def write(name="", old="", new=""):
        for other, text in texts.items():
            if other == name:
                assert old in text, f"{name} has no {old}"
                text = text.replace(old, new)
            (tmp_path / other).write_text(text)
        return tmp_path

    return write


def test_what_is_generated_has_no_finding(written):
    assert check.check([str(written())]) == []


MODELS, BATCHING = "models.config", "batching_parameters.txt"
COMPOSE, CLUSTER = "docker-compose.cpu.yml", "kubernetes.cpu.yaml"
SERVICE = "service 'emotion-server': "
POD = "Deployment 'emotion-server': container 'model-server': "


@pytest.mark.parametrize(
    "name, old, new, findings",
    [
        (MODELS, "base_path", "base", ['no field named "base"']),
        (MODELS, '"/models/emo', '"emo', ["must be an absolute path or a URI"]),
        (MODELS, '"face"', '"emotion"', ["'emotion' is listed more than once"]),
        (MODELS, "value: 3", "value: 4", ["'stable' is version 4, which is n"]),
        (MODELS, '"tensorflow"', '"torch"', ["`model_platform` must be 't"]),
        (MODELS, 'name: "face"', "", ["`name` must be text without `/`"]),
        ("models.logged.config", "rate: 0.1", "rate: 0", ["or nothing is l"]),
        ("models.logged.config", '"/log', '"log', ["must be an absolute p"]),
        (BATCHING, "sizes: 32", "sizes: 31", ["must be `max_batch_size`, 32"]),
        (BATCHING, "sizes: 2\n", "sizes: 9\n", ["must be positive and"]),
        ("monitoring.config", '"/mon', '"mon', ["`path` must begin with `/`"]),
        (COMPOSE, "8501:8501", "8501:80", [f"{SERVICE}port 80 is open, and"]),
        (COMPOSE, "8500:8500", "8500:8501", [f"{SERVICE}--port=8500 is not"]),
        (COMPOSE, "./mon", "./non", ["nonitoring.config is not there"]),
        (COMPOSE, "/models.config", "/n.config", ["/n.config is not there"]),
        (COMPOSE, "target: ", "x: ", [f"{SERVICE[:-2]} has not the form of"]),
        (COMPOSE, "--model_config_file", "--a", ["has neither --model_config"]),
        (COMPOSE, "--enable_batching=true", "--a", ["needs --enable_batching"]),
        (COMPOSE, "=/config/mon", "=/x/mon", ["/x/monitoring.config is in n"]),
        (COMPOSE, "2.16.1", "2.18.0", ["the models are TensorFlow 2.16's"]),
        (COMPOSE, "./models.", "./models.logged.", ["`logging_config` e"]),
        (COMPOSE, "services:", "service:", ["is neither a compose file nor"]),
        (COMPOSE, "    ports:", "  ports:", ["is no YAML: "]),
        (CLUSTER, "averageValue", "average", ["'average' was unexpected"]),
        (CLUSTER, "autoscaling/v2", "autoscaling/v3", ["is no version of it"]),
        (CLUSTER, "targetPort: http", "targetPort: a", ["goes to 'a', which"]),
        (CLUSTER, "containerPort: 8501", "containerPort: 8", ["port 8 is op"]),
        (CLUSTER, "port: 8500\n  ", "port: 85\n  ", ["Probe: port 85 is not"]),
        (CLUSTER, "prometheus.io/port: ", "x: ", []),
        (CLUSTER, 'io/port: "8501"', 'io/port: "1"', ["are read from port 1,"]),
        (CLUSTER, "enable: true", "enable: false", ["metrics are read, and"]),
        (CLUSTER, "base_path", "path", [f"{POD}/config/models.config: is not"]),
        (CLUSTER, "mountPath: /models", "mountPath: /m", ["is in no volume"]),
        (CLUSTER, "--allow_version", "--deny_version", ["labels need --allow"]),
        (CLUSTER, "--enable_grpc", "--a", ["Probe: needs --enable_grpc_heal"]),
        (CLUSTER, "name: models", "name: other", []),
        (CLUSTER, "tmp\n          em", "t\n          em", ["is no volume"]),
        (CLUSTER, "monitoring.config: |", "other: |", ["says no kind of con"]),
        (CLUSTER, "  maxReplicas", "  replicas", ["'maxReplicas' is a req"]),
        (CLUSTER, "spec:\n  # No", "spec:\n  replicas: 2\n  #", ["every"]),
        (CLUSTER, "kind: Deployment\n    name: em", "kind: Deployment\n"
         "    name: x", ["scales Deployment 'xotion-server', which is not"]),
        ("prometheus_adapter.yaml", "seriesQuery", "query", ["lacks 'seriesQ"]),
        ("prometheus_adapter.yaml", "custom", "other", ["has no list `custo"]),
    ],
)  # fmt: skip
def test_findings(written, name, old, new, findings):
    path = written(name, old, new)
    found = check.check([str(path / name)])
    assert bool(found) == bool(findings), found
    for text in findings:
        assert any(text in line for line in found), found
    for line in found:
        assert line.startswith(f"{path}/") and "\n" not in line


def test_a_model_outside_the_volumes(written):
    path = written(MODELS, '"/models/emotion"', '"/elsewhere"')
    for name in (COMPOSE, COMPOSE.replace("cpu", "gpu")):
        (line,) = check.check([str(path / name)])
        assert line == (
            f"{path / name}: {SERVICE}/config/models.config: model 'emotion': "
            "/elsewhere is in no volume"
        )


def test_all_findings_are_listed(written):
    path = written(BATCHING, "sizes: 2\n", "sizes: 9\n")
    (path / MODELS).write_text("")
    (path / "monitoring.config").write_text("x: 1")
    lines = check.check([str(path)])
    named = [line.split(": ")[0].rpartition("/")[2] for line in lines]
    assert named == [BATCHING, MODELS, "monitoring.config"]


def test_a_label_is_looked_for_on_disk(tmp_path):
    base = tmp_path / "base"
    for version in ("2", "10", "notes"):
        (base / version).mkdir(parents=True)
    path = tmp_path / "models.config"
    text = (
        'model_config_list { config { name: "a" model_platform: "tensorflow" '
        f'base_path: "{base}" version_labels {{ key: "x" value: 2 }} %s }} }}'
    )
    path.write_text(text % "")
    (line,) = check.check([str(path)])
    assert line.endswith("which is not served: the version policy gives [10]")
    for policy in ("all {}", "latest { num_versions: 2 }"):
        path.write_text(text % f"model_version_policy {{ {policy} }}")
        assert check.check([str(path)]) == []


def test_ssl(tmp_path):
    pems = pem_files.write(tmp_path)
    models = plan.parse_models(["a=/models/a"], [], [])
    secure = tls.read(pems.key, pems.cert, pems.ca, True)
    out = tmp_path / "out"
    out.mkdir()
    folder.write(plan.Plan(models, tls=secure), out)
    path = out / "ssl.config"
    assert path.stat().st_mode & 0o777 == 0o600
    assert check.check([str(out)]) == []
    path.chmod(0o640)
    (line,) = check.check([str(path)])
    assert "holds a private key, and others may read it (0640)" in line
    path.chmod(0o600)
    text = path.read_text()
    path.write_text(text.replace("custom_ca", "#"))
    (line,) = check.check([str(path)])
    assert line.endswith(
        "`client_verify` needs `custom_ca`, the authority that the clients' "
        "certificates are from"
    )
    path.write_text(text.replace("BEGIN PRIVATE", "BEGIN"))
    (line,) = check.check([str(path)])
    assert "are not a private key (not encrypted) and its certificate" in line
    path.write_text("client_verify: true")
    (line,) = check.check([str(path)])
    assert "`server_key` and `server_cert` must both be PEM texts" in line
    # A gRPC probe cannot speak TLS, and would end every pod.
    cluster = out / CLUSTER
    indent = "\n" + 14 * " "
    probe = f"httpGet:{indent}path: /v1/models/a{indent}port: http"
    assert cluster.read_text().count(probe) == 3
    cluster.write_text(
        cluster.read_text().replace(probe, f"grpc:{indent}port: 8500")
    )
    lines = check.check([str(cluster)])
    assert len(lines) == 3
    assert all("a gRPC probe cannot speak TLS" in line for line in lines)


def test_without_kubernetes_validate(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes_validate", None)
    assert check.check([str(written())]) == []
    path = written(CLUSTER, "spec:\n  scaleTargetRef", "spe:\n  scaleTargetRef")
    (line,) = check.check([str(path / CLUSTER)])
    assert "HorizontalPodAutoscaler 'emotion-server': lacks 'spec'" in line
    path = written(
        CLUSTER, "kind: Deployment\n    name: em", "kind: X\n    name: e"
    )
    (line,) = check.check([str(path / CLUSTER)])
    assert "scales X 'eotion-server', which is not here" in line


def test_paths_that_cannot_be_checked(tmp_path):
    with pytest.raises(UsageError, match="does not exist; name a file"):
        check.check([str(tmp_path / "none.config")])
    with pytest.raises(UsageError, match="holds no file of a model server"):
        check.check([str(tmp_path)])
    (tmp_path / "a.config").write_text("")
    with pytest.raises(UsageError, match="its name says no kind of file"):
        check.check([str(tmp_path / "a.config")])
    (tmp_path / "b.yaml").write_text("- 1")
    assert check.check([str(tmp_path / "b.yaml")])[0].endswith("no object")


def test_a_compose_files_configs_are_checked_with_it(written):
    path = written(BATCHING, "sizes: 2\n", "sizes: 9\n")
    (line,) = check.check([str(path / COMPOSE)])
    assert line.startswith(f"{path / BATCHING}: `allowed_batch_sizes` must")
