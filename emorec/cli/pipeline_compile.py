r"""emorec pipeline compile: the pipeline for Kubeflow Pipelines or Vertex AI.

  emorec pipeline compile --config=pipeline.json --runner=kubeflow \
      --image=REGISTRY/emorec:TAG --output=pipeline.yaml

Writes a KFP v2 pipeline spec; submit it with KFP's or Vertex's own client.
All paths of the settings must be remote, and the image is built from
tfx_pipeline/Dockerfile.
"""

from absl import flags

from emorec.cli import options

FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "The pipeline's settings, pipeline.json.",
    required=True,
    flag_values=FLAGS,
)
_RUNNER = flags.DEFINE_enum(
    "runner",
    "kubeflow",
    ["kubeflow"],
    "What will run it: KFP v2, which Vertex AI runs too.",
    flag_values=FLAGS,
)
_IMAGE = flags.DEFINE_string(
    "image",
    None,
    "The container image of every node.",
    required=True,
    flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
    "output",
    "pipeline.yaml",
    "The file to be: .yaml, or .json for a job of Vertex AI.",
    flag_values=FLAGS,
)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    target = options.check_output(_OUTPUT.value)

    from tfx_pipeline import kubeflow, settings

    made = kubeflow.compile_pipeline(
        settings.load(_CONFIG.value), _IMAGE.value, target
    )
    print(f"{_OUTPUT.value}: {len(made)} nodes in {_IMAGE.value}")
    return 0
