"""Docker compose and Kubernetes files of a plan."""

import hashlib
import json
import os
import textwrap

import jinja2

from serving.configs import plan as plans
from serving.configs import texts

# What prometheus_adapter.yaml makes of the server's counter.
METRIC = "tensorflow_serving_requests_per_second"
# Where containers see the config files, ssl.config, and the claim's models.
_CONFIG, _TLS, _MODELS = "/config", "/tls", "/models"


def compose(plan: plans.Plan, gpu: bool) -> str:
    """Returns docker-compose.{cpu,gpu}.yml.

    The container sees a model at its own path, so that models.config is the
    file that a server beside it reads as well.
    """
    names = ["models.config", _batching_name(gpu), "monitoring.config"]
    if plan.tls:
        names.append("ssl.config")
    local = [m.base_path for m in plan.models if not plans.is_uri(m.base_path)]
    return (
        _environment()
        .get_template("compose.yml.j2")
        .render(
            **_common(plan, gpu),
            args=_args(plan, gpu, f"{_CONFIG}/ssl.config"),
            mounts=[
                *((f"./{name}", f"{_CONFIG}/{name}") for name in names),
                *((path, path) for path in dict.fromkeys(local)),
            ],
            # Docker's letters for the same units.
            memory=plan.memory.replace("Gi", "g").replace("Mi", "m"),
            user=f"{os.getuid()}:{os.getgid()}",
            health=health_command(plan),
        )
    )


def kubernetes(plan: plans.Plan, gpu: bool) -> str:
    """Returns kubernetes.{cpu,gpu}.yaml: five objects in one file."""
    configs = {
        "models.config": texts.models_text(plan, prefix=_MODELS),
        _batching_name(gpu): texts.batching_text(plan, gpu),
        "monitoring.config": texts.monitoring_text(),
    }
    return (
        _environment()
        .get_template("kubernetes.yaml.j2")
        .render(
            **_common(plan, gpu),
            args=_args(plan, gpu, f"{_TLS}/ssl.config"),
            configs=configs,
            digest=hashlib.sha256(json.dumps(configs).encode()).hexdigest(),
            probe=_probe(plan),
            metrics_path=plans.METRICS_PATH,
            metric=METRIC,
            local_models=[
                m for m in plan.models if not plans.is_uri(m.base_path)
            ],
        )
    )


def prometheus_adapter() -> str:
    """Returns prometheus_adapter.yaml, values of the adapter's Helm chart."""
    template = _environment().get_template("prometheus_adapter.yaml.j2")
    return template.render(metric=METRIC)


def health_command(plan: plans.Plan) -> str:
    """Returns a bash command that fails unless every model is available."""
    names = " ".join(model.name for model in plan.models)
    return (
        f"for m in {names}; do "
        f"exec 3<>/dev/tcp/127.0.0.1/{plan.rest_port} && "
        r"printf 'GET /v1/models/%s HTTP/1.0\r\n\r\n' $m >&3 && "
        "grep -q '\"AVAILABLE\"' <&3 || exit 1; done"
    )


def _common(plan, gpu) -> dict:
    return {
        "plan": plan,
        "gpu": gpu,
        "kind": "with a GPU" if gpu else "on CPUs",
        "image": plans.GPU_IMAGE if gpu else plans.IMAGE,
    }


def _batching_name(gpu: bool) -> str:
    return f"batching_parameters{'.gpu' if gpu else ''}.txt"


def _args(plan, gpu, ssl_path) -> list[str]:
    args = texts.server_args(
        plan, _CONFIG, batching=_batching_name(gpu), ssl_path=ssl_path
    )
    # A container sees all CPUs of its machine, and TensorFlow would start a
    # thread for each.
    args.append(f"--tensorflow_session_parallelism={plan.cpus}")
    if gpu:
        fraction = plan.gpu_memory_fraction
        args.append(f"--per_process_gpu_memory_fraction={fraction}")
    return args


def _probe(plan) -> str:
    if not plan.tls:
        return "grpc:\n  port: " + str(plan.port)
    # 200 from when the model's name is known, which it is once REST is open.
    return textwrap.dedent(f"""\
        httpGet:
          path: /v1/models/{plan.models[0].name}
          port: http""")


def _environment() -> jinja2.Environment:
    folder = os.path.join(os.path.dirname(__file__), "templates")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        # The output is no HTML; values are quoted by `q`.
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # A JSON text is one of YAML too. Not escaped: YAML has no pairs of
    # surrogates. Control letters are refused by the plan.
    environment.filters["q"] = lambda text: json.dumps(text, ensure_ascii=False)
    # Compose takes $NAME for a variable.
    environment.filters["dollars"] = lambda text: text.replace("$", "$$")
    return environment
