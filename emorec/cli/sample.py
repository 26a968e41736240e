"""emorec sample: write the sample set, a sanity set of generated videos.

  emorec sample --output_dir=sample

Videos of one photographed face, warped, over moving photographs, with eight
labels that have nothing to do with emotion. It shows that the software works.
"""

import os

from absl import flags

from emorec.cli import options

FLAGS = flags.FlagValues()
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where it goes.", required=True, flag_values=FLAGS
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of everything in the videos.", flag_values=FLAGS
)
_QUIET = options.define_quiet(FLAGS)


def main(args: list[str]) -> int:
    options.no_arguments(args)

    from emorec.data import sample

    # The set is written beside its place, then renamed.
    with options.output_dir(
        os.path.dirname(os.path.abspath(_OUTPUT_DIR.value))
    ):
        manifest = sample.write_sample_set(
            _OUTPUT_DIR.value,
            seed=_SEED.value,
            progress=options.progress_bar("sample set", "videos", _QUIET.value),
        )
    print("a sanity set: generated videos, not emotion")
    print(manifest)
    return 0
