"""emorec prepare: videos to sharded TFRecords of frames.

  emorec prepare --manifest=clips/labels.csv --output_dir=data

The manifest is a CSV with the columns video and label, and optional split,
start, end, identity and source. A run that was stopped goes on where it was.
"""

from absl import flags

from emorec.cli import encoder_flags, options
from emorec.config import Config

FLAGS = flags.FlagValues()
_MANIFEST = flags.DEFINE_string(
    "manifest", None, "The manifest CSV.", required=True, flag_values=FLAGS
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where it goes.", required=True, flag_values=FLAGS
)
_LABELS = flags.DEFINE_string(
    "labels",
    "mec2017",
    "The label set: mec2017, fer2013, auto (from the manifest), or a file.",
    flag_values=FLAGS,
)
_PEOPLE = flags.DEFINE_enum(
    "people",
    "main",
    ["main", "all"],
    "Whose clips get the row's label: the person seen most, or everybody.",
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of a split that has to be drawn.", flag_values=FLAGS
)
_WORKERS = flags.DEFINE_integer(
    "workers",
    0,
    "Processes that share the cores, one shard (16 videos) at a time each. "
    "0: one for each core, if each gets 16 videos and 1.5 GB of memory.",
    lower_bound=0,
    upper_bound=256,
    flag_values=FLAGS,
)
_RUNNER = flags.DEFINE_enum(
    "runner",
    "local",
    ["local", "beam"],
    "What writes the shards: this machine, or an Apache Beam pipeline.",
    flag_values=FLAGS,
)
_BEAM_ARGS = flags.DEFINE_multi_string(
    "beam_pipeline_args",
    [],
    "A flag for Beam, such as --runner=FlinkRunner; may be given several "
    "times. With --runner=beam.",
    flag_values=FLAGS,
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Begin anew, whatever data set the folder holds.",
    flag_values=FLAGS,
)
_ENCODERS = encoder_flags.define_names(FLAGS)
_SET = options.define_set(FLAGS)
_QUIET = options.define_quiet(FLAGS)


def _beam():
    """The function that writes shards with Beam, imported only here."""
    from tfx_pipeline import beam_shards

    beam_shards.check(_BEAM_ARGS.value)
    return lambda tasks: beam_shards.write_shards(tasks, _BEAM_ARGS.value)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    # Records hold pixels; the encoders named here are what `train` will use.
    config = Config().override(encoder_flags.assignments(_ENCODERS, _SET.value))

    from emorec.data import manifest as manifests
    from emorec.data import prepare

    encoder_flags.check(config)
    manifest = manifests.read(_MANIFEST.value, _LABELS.value, seed=_SEED.value)
    if manifest.drawn_split:
        print("split: drawn by identity, for rows that name none")
    made = prepare.prepare(
        manifest,
        _OUTPUT_DIR.value,
        config,
        people=_PEOPLE.value,
        workers=_WORKERS.value,
        overwrite=_OVERWRITE.value,
        write=_beam() if _RUNNER.value == "beam" else None,
        progress=options.progress_bar("prepare", "videos", _QUIET.value),
    )
    for name, split in made.splits.items():
        share = split["frames_with_face"] / max(split["frames_total"], 1)
        print(
            f"{name}: {split['rows']} videos, {split['records']} records, "
            f"{share:.1%} of {split['frames_total']} frames with a face, "
            f"{split['no_face']} videos without"
        )
    for fault in made.damaged:
        print(f"damaged, line {fault['line']}: {fault['reason']}")
    for failure in made.failures:
        print(f"failed, line {failure['line']}: {failure['reason']}")
    if made.failures:
        print(f"{len(made.failures)} videos could not be read (listed above)")
    return 0
