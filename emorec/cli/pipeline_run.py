"""emorec pipeline run: the TFX pipeline on this machine.

  emorec pipeline run --config=pipeline.json

Videos and a manifest to a blessed model in the folder of a model server. What
an earlier run has done with the same input is not done again. The README has
the fields of pipeline.json. Exit code: 0 when every node ran or was cached,
also where the model was not blessed; --fail_unblessed makes that 1.
"""

import logging
import sys
import time

from absl import flags

from emorec.cli import options
from emorec.errors import EmorecError, ModelError

FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "The pipeline's settings, pipeline.json.",
    required=True,
    flag_values=FLAGS,
)
_BEAM_ARGS = flags.DEFINE_multi_string(
    "beam_pipeline_args",
    [],
    "A flag for Beam, such as --runner=FlinkRunner; may be given several "
    "times, and comes after those of the settings.",
    flag_values=FLAGS,
)
_FAIL_UNBLESSED = flags.DEFINE_bool(
    "fail_unblessed",
    False,
    "End with code 1 where no model was pushed.",
    flag_values=FLAGS,
)
_SET = options.define_set(FLAGS)
_QUIET = options.define_quiet(FLAGS)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    # Beam and Google's libraries warn here of what no user can mend.
    logging.getLogger().setLevel(logging.ERROR)

    from tfx_pipeline import settings as pipeline_settings

    settings = pipeline_settings.load(_CONFIG.value).override(
        _SET.value, _BEAM_ARGS.value
    )
    if settings.beam_pipeline_args:
        from tfx_pipeline import beam_shards

        beam_shards.check(settings.beam_pipeline_args)

    from tfx_pipeline import local_runner

    result = local_runner.run(settings, None if _QUIET.value else _Progress())
    print(result.table.text(), flush=True)
    if isinstance(result.error, EmorecError):
        raise result.error
    if result.error is not None:
        raise EmorecError(
            f"a node failed: {' '.join(str(result.error).split())[:500]}"
        ) from result.error
    if _FAIL_UNBLESSED.value:
        _check_pushed(result.table)
    return 0


def _check_pushed(table):
    """Refuses a run after which its model is not there to be served."""
    if table.pushed is None:
        raise ModelError("no model was pushed (the table says why)")
    if table.served is None:
        raise ModelError(
            f"version {table.pushed} was pushed earlier and is not in "
            f"{table.serving_dir} any more; `emorec pipeline rollback "
            f"--version={table.pushed}` pushes it again"
        )


class _Progress:
    """One line a node: its name when it begins, its time when it ends."""

    def __init__(self):
        self._began = 0.0

    def __call__(self, node: str, ended: bool):
        if ended:
            took = time.monotonic() - self._began
            print(f"{node}: {took:.1f} s", file=sys.stderr, flush=True)
        else:
            self._began = time.monotonic()
            if sys.stderr.isatty():
                print(f"{node} ...", file=sys.stderr, end="\r", flush=True)
