"""emorec pipeline rollback: an earlier blessed version is served again.

  emorec pipeline rollback --config=pipeline.json
  emorec pipeline rollback --config=pipeline.json --version=1714550400

Pushes the version before the one that is served, or --version, under a new
and higher number, which a model server then takes. Only what this pipeline
has pushed, blessed by Evaluator and ServableValidator, is pushed again; no
folder is written over. `emorec pipeline status` shows it.
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
_VERSION = flags.DEFINE_integer(
    "version",
    None,
    "The version that is pushed again; by default the one before that which "
    "is served.",
    lower_bound=0,
    flag_values=FLAGS,
)


def main(args: list[str]) -> int:
    options.no_arguments(args)

    from tfx_pipeline import rollback
    from tfx_pipeline import settings as pipeline_settings

    settings = pipeline_settings.load(_CONFIG.value)
    made = rollback.roll_back(
        settings.metadata_path,
        settings.pipeline_name,
        settings.serving_dir,
        _VERSION.value,
    )
    text = f"version {made.version} is version {made.rolled_back_to} again"
    if made.rolled_back_from is not None:
        text += f", in place of {made.rolled_back_from}"
    print(f"{text} (model {made.model_id}): {made.destination}")
    return 0
