r"""emorec export: a trained model to a versioned SavedModel, or to ONNX.

  emorec export --model_dir=model --output_dir=serving/emotion
  emorec export --model_dir=model --output_dir=onnx --format=onnx

A SavedModel: the next version folder appears under --output_dir, the base
path of a model server, once every signature was loaded again and compared
with the model. ONNX: --output_dir itself appears, with the networks of the
whole path from a frame to an answer, once onnxruntime gave what they give in
TensorFlow; `emorec predict --onnx` runs it without TensorFlow.

With both come a model card and a data card in Markdown, made of what is known:
in a SavedModel's assets and, of the newest version, beside it in the base path;
in ONNX's folder. They hold what the training run measured on its validation
split, and with --evaluation what `emorec evaluate` found:

  emorec export --model_dir=model --output_dir=serving/emotion \
      --evaluation=report_test
"""

from absl import flags

from emorec.cli import options
from emorec.errors import UsageError

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
    "The base path of the served model; of ONNX, a folder that is empty or "
    "not there.",
    required=True,
    flag_values=FLAGS,
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "saved_model",
    ["saved_model", "onnx"],
    "What is written.",
    flag_values=FLAGS,
)
_VERSION = flags.DEFINE_integer(
    "version",
    None,
    "The version's number, of a SavedModel; by default one more than the "
    "newest.",
    lower_bound=1,
    flag_values=FLAGS,
)
_WARMUP = flags.DEFINE_list(
    "warmup_batch_sizes",
    ["1", "2", "4", "8", "16", "32"],
    "Batch sizes of the requests that a server runs before this version "
    "answers anybody; those that its batching allows, none larger. Empty "
    "writes no such requests.",
    flag_values=FLAGS,
)
_EVALUATION = flags.DEFINE_multi_string(
    "evaluation",
    [],
    "An output folder of `emorec evaluate` of this model, whose figures the "
    "model card is to show; may be given several times.",
    flag_values=FLAGS,
)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    is_onnx = _FORMAT.value == "onnx"
    if is_onnx and _VERSION.value is not None:
        raise UsageError(
            "--version goes with --format=saved_model: an ONNX directory has "
            f"no versions below it. Received: --version={_VERSION.value}"
        )
    with options.output_dir(_OUTPUT_DIR.value):
        export = _export_onnx if is_onnx else _export_saved_model
        folder, description = export(_OUTPUT_DIR.value)
    options.announce_notes(description)
    print(folder)
    return 0


def _export_saved_model(base_path):
    from emorec.export import cards, saved_model
    from emorec.training import bundle

    sizes = _batch_sizes()
    model = bundle.load(_MODEL_DIR.value, use_cudnn=False)
    folder, differences = saved_model.export(
        model,
        base_path,
        _VERSION.value,
        batch_sizes=sizes,
        figures=cards.figures_of(model, _EVALUATION.value),
    )
    cards.put_beside(folder)
    for name, difference in differences.items():
        print(f"{name}: largest difference of a probability {difference:.1e}")
    return folder, model.describe()


def _batch_sizes() -> tuple[int, ...]:
    given = _WARMUP.value
    if not all(s.isascii() and s.isdigit() and int(s) > 0 for s in given):
        raise UsageError(
            "--warmup_batch_sizes must be numbers from 1, with commas between "
            f"them. Received: {','.join(given)!r}"
        )
    return tuple(map(int, given))


def _export_onnx(folder):
    from emorec.export import cards, onnx_files
    from emorec.training import bundle

    onnx_files.check(folder)
    model = bundle.load(_MODEL_DIR.value, use_cudnn=False)
    figures = cards.figures_of(model, _EVALUATION.value)
    made = onnx_files.export(model, folder, figures)
    for name, differences in made.items():
        worst = max(differences, key=differences.get)
        print(f"{name}: largest difference {differences[worst]:.1e} ({worst})")
    return folder, model.describe()
