"""emorec pipeline status: runs, pushed versions, and what the model is made of.

  emorec pipeline status --config=pipeline.json
  emorec pipeline status --metadata=pipeline/metadata.sqlite --videos

Read from ML Metadata; nothing is written, and a run may be going on. --run
gives the table of one run. Without --model_version the lineage is that of the
version that is served.
"""

import json

from absl import flags

from emorec.cli import options
from emorec.errors import UsageError

FLAGS = flags.FlagValues()
_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "The pipeline's settings, pipeline.json.",
    flag_values=FLAGS,
)
_METADATA = flags.DEFINE_string(
    "metadata",
    None,
    "The SQLite file of ML Metadata, in place of --config.",
    flag_values=FLAGS,
)
_PIPELINE_NAME = flags.DEFINE_string(
    "pipeline_name",
    None,
    "With --metadata, the pipeline, where the file knows several.",
    flag_values=FLAGS,
)
_RUN = flags.DEFINE_string(
    "run", None, "The id of a run whose table is shown.", flag_values=FLAGS
)
_MODEL_VERSION = flags.DEFINE_integer(
    "model_version",
    None,
    "The pushed version whose lineage is shown.",
    lower_bound=0,
    flag_values=FLAGS,
)
_VIDEOS = flags.DEFINE_bool(
    "videos",
    False,
    "List the videos that the model was made of; reads all records.",
    flag_values=FLAGS,
)
_JSON = flags.DEFINE_bool(
    "json", False, "Print JSON, with all details.", flag_values=FLAGS
)
_LIMIT = flags.DEFINE_integer(
    "limit",
    10,
    "Most runs and pushed versions that are shown.",
    lower_bound=1,
    flag_values=FLAGS,
)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    options.one_of(
        {"config": _CONFIG, "metadata": _METADATA}, "config", "metadata"
    )
    if _RUN.value and (_MODEL_VERSION.value is not None or _VIDEOS.value):
        raise UsageError(
            "--run shows a run, --model_version and --videos a model; give "
            "one or the other"
        )
    path, name, places = _METADATA.value, _PIPELINE_NAME.value, {}
    if _CONFIG.value:
        from tfx_pipeline import settings as pipeline_settings

        settings = pipeline_settings.load(_CONFIG.value)
        path = settings.metadata_path
        name = name or settings.pipeline_name
        places = {
            "serving_dir": settings.serving_dir,
            "pipeline_root": settings.pipeline_root,
        }

    from tfx_pipeline import metadata_store, status

    with metadata_store.opened(path) as store:
        found = status.collect(
            store,
            metadata_store.the_pipeline(store, name),
            limit=_LIMIT.value,
            run_id=_RUN.value,
            version=_MODEL_VERSION.value,
            videos=_VIDEOS.value,
            **places,
        )
    if _JSON.value:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        print(found.text())
    return 0
