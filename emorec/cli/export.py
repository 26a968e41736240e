"""emorec export: a trained model to a versioned SavedModel.

  emorec export --model_dir=model --output_dir=serving/emotion

The next version folder appears under --output_dir, the base path of a model
server, once every signature was loaded again and compared with the model.
"""

from absl import flags

from emorec.cli import options

FLAGS = flags.FlagValues()
_MODEL_DIR = flags.DEFINE_string(
    "model_dir",
    None,
    "A model folder of `emorec train`.",
    required=True,
    flag_values=FLAGS,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "The base path of the served model.",
    required=True,
    flag_values=FLAGS,
)
_VERSION = flags.DEFINE_integer(
    "version",
    None,
    "The version's number; by default one more than the newest.",
    lower_bound=1,
    flag_values=FLAGS,
)


def main(args: list[str]) -> int:
    options.no_arguments(args)

    from emorec.export import saved_model
    from emorec.training import bundle

    with options.output_dir(_OUTPUT_DIR.value):
        model = bundle.load(_MODEL_DIR.value, use_cudnn=False)
        folder, differences = saved_model.export(
            model, _OUTPUT_DIR.value, _VERSION.value
        )
    for name, difference in differences.items():
        print(f"{name}: largest difference of a probability {difference:.1e}")
    options.announce_notes(model.describe())
    print(folder)
    return 0
