"""The executor of ClipExampleGen: videos, or prepared shards, to examples."""

import csv
import dataclasses
import json
from typing import Any

from absl import logging
from tfx import types
from tfx.components.example_gen import utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from emorec import labels as label_sets
from emorec.config import Config
from emorec.data import dataset, files, manifest, prepare, shards, splits
from emorec.errors import EmorecError, RecordError, VideoError
from tfx_pipeline import beam_shards, executions
from tfx_pipeline.components import clip_example_gen_driver as driver

EXAMPLES = "examples"
DEAD_LETTERS = "dead_letters"
FAILURES = "failures.csv"
# Says which code wrote the shards beside it: those of other code are not
# adopted, for their task's hash covers videos and config alone.
_CODE = "code.json"
_LISTED = 20


class ClipExampleGenExecutor(base_beam_executor.BaseBeamExecutor):
    """Makes a prepared data set of an Examples artifact's folder."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes records, `dataset.json` and the dead letters.

        Raises:
            EmorecError: The input is faulty, too many videos cannot be read,
                a shard is corrupt or of another config, or there is nothing
                to train on.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[EXAMPLES])
        letters = artifact_utils.get_single_instance(output_dict[DEAD_LETTERS])
        found = driver.resolve(exec_properties)
        config = Config.from_dict(json.loads(exec_properties["config"]))
        try:
            data = self._data(found, examples.uri, config, exec_properties)
        except EmorecError:
            # Hours of work, perhaps, and then a limit that can be raised.
            executions.keep(examples.uri, "shards")
            raise
        executions.forget(examples.uri)
        rows = _rows(data)
        _write_failures(letters, data.failures, rows)
        _describe(examples, data, found)

    def _data(self, found, uri, config, exec_properties) -> dataset.Dataset:
        """Makes the data set and checks that it is fit to go on with."""
        make = self._prepare if found.kind == driver.MANIFEST else self._copy
        data = make(found, uri, config, exec_properties)
        _check_failures(
            found.path, data.failures, _rows(data), exec_properties, uri
        )
        _check_train(found.path, data)
        _check_labels(
            found.path, data, json.loads(exec_properties["complete_splits"])
        )
        return data

    def _prepare(self, found, uri, config, exec_properties) -> dataset.Dataset:
        """Videos to records, going on where a killed run stopped."""
        rows = manifest.read(
            found.path,
            exec_properties["labels"],
            seed=int(exec_properties["seed"]),
        )
        people = exec_properties["people"]
        code = {"code": exec_properties["code"]}
        if _code_of(uri) not in (None, code):
            files.remove(uri)
        files.write_json(files.join(uri, _CODE), code)

        def write(tasks):
            counts = beam_shards.write_shards(
                tasks, make_pipeline=self._make_beam_pipeline
            )
            logging.info("%d shards written: %s", len(tasks), counts)

        try:
            return prepare.prepare(
                rows,
                uri,
                config,
                people=people,
                by_split=True,
                earlier=[
                    folder
                    for folder in executions.beside(uri, executions.NEWEST)
                    if _code_of(folder) == code
                ],
                write=write,
            )
        except RecordError:
            # Not one video could be read: their list says more.
            tasks = prepare.plan(rows, uri, config, people, by_split=True)
            done = filter(None, map(shards.finished, tasks))
            failures = [f for summary in done for f in summary.failures]
            _check_failures(
                found.path, failures, len(rows.rows), exec_properties, uri
            )
            raise

    def _copy(self, found, uri, config, exec_properties) -> dataset.Dataset:
        """Shards of `emorec prepare`, checked, into the folders of splits."""
        data = dataset.load(files.parent(found.path))
        labels = data.labels
        if exec_properties["labels"] != label_sets.AUTO:
            labels = label_sets.resolve(exec_properties["labels"])
        dataset.check_fits(data, config, labels, "ClipExampleGen")
        described, tasks = {}, []
        for split, values in data.splits.items():
            names = [
                f"{dataset.SPLIT_FOLDER}{split}/{files.name(name)}"
                for name in values["files"]
            ]
            described[split] = {**values, "files": names}
            tasks += [
                beam_shards.CopyTask(
                    files.join(data.path, name),
                    files.join(uri, target),
                    config.data_hash(),
                )
                for name, target in zip(values["files"], names, strict=True)
            ]
        counts = beam_shards.copy_shards(
            tasks, make_pipeline=self._make_beam_pipeline
        )
        logging.info("copied: %s", counts)
        made = dataclasses.replace(data, path=uri, splits=described)
        made.write()
        return made


def _rows(data) -> int:
    read = sum(v["rows"] for v in data.splits.values())
    return len(data.failures) + read


def _code_of(folder: str) -> dict | None:
    path = files.join(folder, _CODE)
    if not files.exists(path):
        return None
    return files.read_json(path, "note of the code", "delete its folder")


def _write_failures(letters, failures, rows: int):
    _write_csv(files.join(letters.uri, FAILURES), failures)
    # Custom ones: Kubeflow knows no others of a type that is not TFX's own.
    letters.set_int_custom_property("failed", len(failures))
    letters.set_int_custom_property("rows", rows)


def _write_csv(path: str, failures):
    with (
        files.atomic(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, ("line", "video", "split", "reason"))
        writer.writeheader()
        writer.writerows(failures)


def _check_failures(path, failures, rows: int, exec_properties, uri: str):
    """Refuses a data set that lacks too many of its videos."""
    limit = float(exec_properties["max_failed_share"])
    if not failures or len(failures) / rows <= limit:
        return
    lines = [f"line {f['line']}: {f['reason']}" for f in failures[:_LISTED]]
    if failures[_LISTED:]:
        # In what is put aside: TFX removes the outputs themselves.
        _write_csv(files.join(uri, FAILURES), failures)
        lines.append(
            f"and {len(failures) - _LISTED} more; all of them: "
            f"{files.join(executions.kept(uri), FAILURES)}"
        )
    raise VideoError(
        f"{path}: {len(failures)} of {rows} videos "
        f"({len(failures) / rows:.1%}) could not be read, over the limit of "
        f"{limit:.1%}; mend or remove them, or raise `max_failed_share`:\n"
        + "\n".join(lines)
    )


def _check_train(path, data: dataset.Dataset):
    """Refuses a data set of which nothing can be trained."""
    train = data.splits.get(shards.TRAIN, {"records": 0})
    if not train["records"]:
        raise RecordError(
            f"{path}: no video of the split train could be read; it has "
            f"{', '.join(data.splits) or 'no split'}; write `train` into the "
            "column split, or leave it empty to have splits drawn"
        )
    labelled = sum(n for label, n in train["labels"].items() if label)
    if not labelled or train["rows"] <= train["no_face"]:
        raise RecordError(
            f"{path}: no labelled video of the split train shows a face "
            f"({train['rows']} videos, {labelled} with a label); look at them "
            "with `emorec annotate`, or lower detector.min_face_size"
        )
    for split in set(splits.DRAWN) - {shards.TRAIN}:
        if not data.splits.get(split, {"records": 0})["records"]:
            logging.warning("%s: there is no split %s", path, split)


def _check_labels(path, data: dataset.Dataset, complete: list[str]):
    """Refuses splits that lack a label and should not."""
    for split in complete:
        labels = data.splits.get(split, {"labels": {}})["labels"]
        absent = [n for n in data.labels.names if not labels.get(n)]
        if absent:
            raise RecordError(
                f"{path}: no video of the split {split} is labelled "
                f"{', '.join(absent)}; add some, use a label set without "
                "them, or leave the split out of `complete_splits`"
            )


def _describe(examples, data: dataset.Dataset, found: driver.Input):
    """Sets what other components, and people, read of the artifact."""
    held = [s for s, values in data.splits.items() if values["records"]]
    examples.split_names = artifact_utils.encode_split_names(held)
    examples.span = found.span
    examples.set_int_custom_property(utils.SPAN_PROPERTY_NAME, found.span)
    if found.version is not None:
        examples.version = found.version
        examples.set_int_custom_property(
            utils.VERSION_PROPERTY_NAME, found.version
        )
    examples.set_string_custom_property(
        utils.FINGERPRINT_PROPERTY_NAME, found.fingerprint
    )
    examples.set_string_custom_property("dataset", data.fingerprint)
    examples_utils.set_payload_format(
        examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE
    )
