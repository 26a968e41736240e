r"""emorec train_face: labelled face images to a face encoder.

  emorec train_face --images=faces --output_dir=face
  emorec train_face --images=fer2013.csv --architecture=resnet50 \
      --weights=resnet50_notop.h5 --output_dir=face

--images is a folder that holds a folder of images for each class, or train,
validation and test folders of such, or a CSV in the form of FER2013. The
result trains a clip's model by `emorec train --face_encoder=face`.
"""

from absl import flags

from emorec.cli import options

FLAGS = flags.FlagValues()
_IMAGES = flags.DEFINE_string(
    "images",
    None,
    "The folder of images, or the CSV.",
    required=True,
    flag_values=FLAGS,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "The encoder's folder to be.",
    required=True,
    flag_values=FLAGS,
)
_ARCHITECTURE = flags.DEFINE_string(
    "architecture",
    "mini_xception",
    "mini_xception, or the name of a network in keras.applications, such as "
    "ResNet50 or MobileNetV2, in any case.",
    flag_values=FLAGS,
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "A Keras file of initial weights of this architecture (.keras, .h5, "
    ".weights.h5); random without. Nothing is downloaded.",
    flag_values=FLAGS,
)
_FREEZE = flags.DEFINE_bool(
    "freeze",
    False,
    "Train the last layer alone; needs --weights.",
    flag_values=FLAGS,
)
_MAX_LEFT_OUT = flags.DEFINE_float(
    "max_left_out",
    0.05,
    "Largest share of images that may be unusable; they are left out.",
    lower_bound=0,
    upper_bound=1,
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed",
    0,
    "Of initialisation, shuffling, augmentation and dropout.",
    lower_bound=0,
    upper_bound=2**31 - 1,
    flag_values=FLAGS,
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Throw away an earlier classifier in the folder.",
    flag_values=FLAGS,
)
_SET = options.define_set(FLAGS)
_QUIET = options.define_quiet(FLAGS)
_TOLD = 5


def main(args: list[str]) -> int:
    options.no_arguments(args)
    config = _config()

    from emorec.features import face_images, face_networks, train_face

    architecture = face_networks.resolve(_ARCHITECTURE.value)
    train_face.check_free(_OUTPUT_DIR.value, _OVERWRITE.value)
    with options.output_dir(_OUTPUT_DIR.value):
        images = face_images.read(
            _IMAGES.value,
            train_face.image_size(config, architecture),
            validation_share=config.face_train.validation_share,
            scratch=_OUTPUT_DIR.value,
            max_left_out=_MAX_LEFT_OUT.value,
            progress=options.progress_bar("read", "images", _QUIET.value),
        )
        _show_images(images)
        made = train_face.train(
            images,
            _OUTPUT_DIR.value,
            config,
            architecture=architecture,
            weights=_WEIGHTS.value,
            freeze=_FREEZE.value,
            seed=_SEED.value,
            on_start=_show_start,
            on_epoch=_show_epoch,
        )
        metrics = _measure(made)
        made.save(
            _OUTPUT_DIR.value, {k: m.to_dict() for k, m in metrics.items()}
        )
    _show_result(made, metrics)
    return 0


def _config():
    """Returns the config, of which this command takes one section."""
    from emorec.config import Config
    from emorec.errors import UsageError

    for assignment in _SET.value:
        if not assignment.startswith("face_train."):
            raise UsageError(
                "`--set` of train_face takes fields of face_train alone. "
                f"Received: {assignment!r}"
            )
    if _FREEZE.value and not _WEIGHTS.value:
        raise UsageError(
            "--freeze trains the last layer alone, on features that would be "
            "random; give --weights too"
        )
    return Config().override(_SET.value)


def _measure(made):
    """Returns split -> metrics."""
    from emorec.evaluation import metrics

    return {
        split: metrics.evaluate(
            answers.label_ids, answers.probabilities, None, made.labels
        )
        for split, answers in made.answers.items()
    }


def _show_images(images):
    counts = (f"{len(rows)} {split}" for split, rows in images.rows.items())
    print(
        f"{len(images.names)} images of {len(images.labels)} classes "
        f"({', '.join(images.labels.names)}): {', '.join(counts)}"
        + (" (validation was drawn)" if images.drawn else ""),
        flush=True,
    )
    if images.left_out:
        print(f"{len(images.left_out)} images cannot be used:")
        for name, why in images.left_out[:_TOLD]:
            print(f"  {name} {why}")
        if len(images.left_out) > _TOLD:
            print(f"  and {len(images.left_out) - _TOLD} more")
    if images.ignored:
        print(f"{images.ignored} files are no images by their names")
    if images.copies:
        print(
            f"WARNING: {images.copies} images of validation and test are in "
            "training too: their figures are too good"
        )


def _show_start(info):
    weights = info["weights"]
    how = "RANDOM initial weights"
    if weights["initial"] == "file":
        how = f"initial weights of {weights['file']}"
        if weights["head"] == "random":
            how += ", its last layer random"
        if info["freeze"]:
            how += "; the last layer alone is trained"
    print(
        f"{info['architecture']}, {info['image_size']} x "
        f"{info['image_size']}, {info['parameters']:,} parameters: {how}",
        flush=True,
    )


def _show_epoch(epoch, figures):
    if not _QUIET.value:
        text = "  ".join(f"{k} {v:.4f}" for k, v in figures.items())
        print(f"epoch {epoch + 1:>3}  {text}", flush=True)


def _show_result(made, metrics):
    from emorec.evaluation.metrics import TITLES

    print(
        f"best epoch {made.info['best_epoch'] + 1} of {made.info['epochs']} "
        f"(val_loss {made.info['best']['val_loss']:.4f})"
    )
    for split, found in metrics.items():
        print(f"{split}, {found.n} images:")
        for name in ("acc", "macro_f1", "uar", "map", "ranking_map"):
            print(f"  {100 * getattr(found, name):6.2f} %  {TITLES[name]}")
        if found.absent:
            print(f"  no images of: {', '.join(found.absent)}")
    print(
        f"face encoder: {_OUTPUT_DIR.value} (emorec train "
        f"--face_encoder={_OUTPUT_DIR.value})"
    )
