"""The README's example: our components in a pipeline that is not ours."""

import pathlib
import re

import pytest
from tfx import v1 as tfx

from emorec.errors import EmorecError
from tfx_pipeline import components, run_list, run_table
from tfx_pipeline.components.feature_extractor import FeatureExtractor
from tfx_pipeline.metadata_store import opened

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"


def example():
    """The function `create` of the README's block."""
    text = README.read_text(encoding="utf-8")
    section = text.partition("### Our components in a pipeline of yours")[2]
    block = re.search(r"```python\n(.*?)```", section, re.S).group(1)
    values = {}
    exec(compile(block, str(README), "exec"), values)
    return values["create"]


def run(nodes, folder):
    tfx.orchestration.LocalDagRunner().run(
        tfx.dsl.Pipeline(
            pipeline_name="theirs",
            pipeline_root=str(folder / "root"),
            components=nodes,
            metadata_connection_config=(
                tfx.orchestration.metadata.sqlite_metadata_connection_config(
                    str(folder / "metadata.sqlite")
                )
            ),
        )
    )
    with opened(folder / "metadata.sqlite") as store:
        (found,) = run_list.runs(store, "theirs")
        return run_table.rows(store, "theirs", found.id)


def test_the_readme_example_runs(prepared, tmp_path):
    made = example()(
        prepared.path,
        "testing.foreign_trainer.run_fn",
        str(tmp_path / "serving"),
    )
    rows = {row.node: row for row in run(made, tmp_path)}
    assert {row.state for row in rows.values()} == {"ran"}
    assert rows["ServableValidator"].outcome.startswith("blessed")
    (version,) = (tmp_path / "serving").iterdir()
    assert (version / "saved_model.pb").is_file()


def test_every_component_is_found_by_its_name():
    for name in components.__all__:
        found = getattr(components, name)
        assert found.__name__ == name
        assert found.__doc__
        assert issubclass(found, tfx.types.BaseComponent)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        components.Nothing  # noqa: B018


def test_records_of_no_data_set_are_refused(tmp_path):
    from testing import tfx_artifacts

    found = tfx_artifacts.examples(tmp_path / "in", {"train": [[b"x"]]})
    made = FeatureExtractor(
        examples=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Examples),
        inputs=["face_features"],
        config={},
    )
    executor = made.executor_spec.executor_class()
    output = tfx_artifacts.made(type(found), tmp_path / "out")
    with pytest.raises(EmorecError, match="ClipExampleGen") as caught:
        executor.Do(
            {"examples": [found]},
            {"features": [output]},
            dict(made.exec_properties),
        )
    assert "\n" not in str(caught.value)
