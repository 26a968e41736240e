"""emorec pipeline schema: the schema of the records, for labels of your own.

  emorec pipeline schema --labels=fer2013 --output=schema.pbtxt

The committed schema has the labels of MEC 2017. One for other labels differs
in their domain; name the file as `schema_file` in pipeline.json.
"""

from absl import flags

from emorec.cli import options
from emorec.errors import UsageError

FLAGS = flags.FlagValues()
_LABELS = flags.DEFINE_string(
    "labels",
    None,
    "The label set: mec2017, fer2013, auto (with --manifest), or a file.",
    required=True,
    flag_values=FLAGS,
)
_MANIFEST = flags.DEFINE_string(
    "manifest",
    None,
    "The manifest CSV whose labels are taken, for --labels=auto.",
    flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "The file to be.", required=True, flag_values=FLAGS
)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    target = options.check_output(_OUTPUT.value)

    from emorec import labels

    if _LABELS.value == labels.AUTO:
        if not _MANIFEST.value:
            raise UsageError("--labels=auto needs --manifest")
        from emorec.data import manifest

        names = manifest.read(
            _MANIFEST.value, labels.AUTO, check_videos=False
        ).labels.names
    else:
        names = labels.resolve(_LABELS.value).names

    from tfx_pipeline import schema

    schema.write(names, target)
    print(f"{_OUTPUT.value}: {len(names)} labels: {', '.join(names)}")
    return 0
