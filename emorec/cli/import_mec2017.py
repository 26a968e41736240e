r"""emorec import_mec2017: CHEAVD 2.0 (MEC 2017) to a manifest for prepare.

  emorec import_mec2017 --videos=CHEAVD/train --label_file=CHEAVD/train.csv \\
    --split=train --output=manifest.csv
  emorec import_mec2017 --videos=CHEAVD/val --label_file=CHEAVD/val.csv \\
    --split=validation --output=manifest.csv --append

The data set is licensed and did not come with emorec, so its layout is
ASSUMED: a folder of clips and a label file for each of train, validation and
test. The label file is CSV (commas, semicolons or tabs), TXT (tabs or white
space) or XLSX, in UTF-8 or GB 18030 (GBK); it has a column of file names and
one of labels, with a header or without. Labels are happy, sad, angry,
surprise, disgust, worried, anxious and neutral, or their usual Chinese names
(高兴 悲伤 愤怒 惊讶 厌恶 担心 焦虑 中性). Test clips without a label become
unlabelled. No video is opened.

Films cut by --start_column and --end_column, and any other folder with a
label file of these labels, are read just so; give each a --source of its own.
"""

from absl import flags

from emorec.cli import options
from emorec.data import splits

FLAGS = flags.FlagValues()
_VIDEOS = flags.DEFINE_string(
    "videos",
    None,
    "The folder of the clips; subfolders are searched.",
    required=True,
    flag_values=FLAGS,
)
_LABEL_FILE = flags.DEFINE_string(
    "label_file",
    None,
    "CSV, TXT or XLSX: a row a clip.",
    required=True,
    flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "The manifest CSV.", required=True, flag_values=FLAGS
)
_SPLIT = flags.DEFINE_enum(
    "split",
    None,
    list(splits.SPLITS),
    "Of all rows. Without it, prepare draws one.",
    flag_values=FLAGS,
)
_FILE_COLUMN = flags.DEFINE_string(
    "file_column",
    None,
    "The column of the file names: its name in the header, or its number from "
    "1. Found by common names such as file, name, video, 文件名.",
    flag_values=FLAGS,
)
_LABEL_COLUMN = flags.DEFINE_string(
    "label_column",
    None,
    "The column of the labels. Found by common names such as label, emotion, "
    "标签, 情感.",
    flag_values=FLAGS,
)
_START_COLUMN = flags.DEFINE_string(
    "start_column",
    None,
    "The column of each clip's start in its video: seconds or hh:mm:ss.",
    flag_values=FLAGS,
)
_END_COLUMN = flags.DEFINE_string(
    "end_column", None, "The column of its end.", flag_values=FLAGS
)
_IDENTITY_COLUMN = flags.DEFINE_string(
    "identity_column",
    None,
    "The column that names who is seen; nobody may be in two splits.",
    flag_values=FLAGS,
)
_HEADER = flags.DEFINE_bool(
    "header",
    None,
    "Whether the first row names the columns. Without it: if it holds a "
    "common name, or a column is given by name.",
    flag_values=FLAGS,
)
_SOURCE = flags.DEFINE_string(
    "source",
    "cheavd2",
    "The data set's name, by which training can weigh it.",
    flag_values=FLAGS,
)
_SHEET = flags.DEFINE_string(
    "sheet", None, "Of an XLSX; by default the first.", flag_values=FLAGS
)
_APPEND = flags.DEFINE_bool(
    "append",
    False,
    "Add to the manifest if it is there; no clip may repeat.",
    flag_values=FLAGS,
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Replace the manifest if it is there.",
    flag_values=FLAGS,
)


def main(args: list[str]) -> int:
    options.no_arguments(args)

    from emorec.data import mec2017

    made = mec2017.import_clips(
        _VIDEOS.value,
        _LABEL_FILE.value,
        _OUTPUT.value,
        columns=mec2017.Columns(
            file=_FILE_COLUMN.value,
            label=_LABEL_COLUMN.value,
            start=_START_COLUMN.value,
            end=_END_COLUMN.value,
            identity=_IDENTITY_COLUMN.value,
            header=_HEADER.value,
        ),
        split=_SPLIT.value,
        source=_SOURCE.value,
        sheet=_SHEET.value,
        append=_APPEND.value,
        overwrite=_OVERWRITE.value,
    )
    print(f"{_LABEL_FILE.value}: {made.form}")
    if made.unused_columns:
        print(f"columns not used: {', '.join(made.unused_columns)}")
    if made.unused_videos:
        print(f"videos in no row: {made.unused_videos}")
    print(f"{_OUTPUT.value}: {made.added} rows added, {made.total} in all")
    _print_counts(made.counts)
    return 0


def _print_counts(counts):
    """A line a label and a column a split, of those that there are."""
    from emorec.labels import MEC2017

    known = {label: i for i, label in enumerate(MEC2017)}
    labels = {label for label, _ in counts}
    labels = sorted(labels, key=lambda x: (not x, known.get(x, len(known)), x))
    names = [s for s in (*splits.SPLITS, "") if any(k[1] == s for k in counts)]
    lines = [["label", *(name or "to draw" for name in names)]]
    lines += [
        [label or "(none)", *(str(counts[label, name]) for name in names)]
        for label in labels
    ]
    width = max(len(line[0]) for line in lines)
    for first, *others in lines:
        cells = (f"{c:>{max(len(h), 5)}}" for h, c in zip(lines[0][1:], others))
        print(f"  {first:<{width}}  {'  '.join(cells)}")
