"""Opens ML Metadata, or tells in one line why not."""

import pytest
from testing import tiny_pipeline

from emorec.errors import EmorecError, UsageError
from tfx_pipeline import metadata_store


@pytest.fixture
def store(history, monkeypatch):
    monkeypatch.chdir(history.folder)
    with metadata_store.opened(tiny_pipeline.METADATA) as found:
        yield found


# To `run` itself, "run it first" would be no way out.
MOVE = "move it away, or choose another metadata path"


@pytest.mark.parametrize(
    "content, why, remedy",
    [
        (
            None,
            "there is no such file",
            "run `emorec pipeline run` first, or give the right path",
        ),
        ("", "it is empty", MOVE),
        ("no database" * 100, "file is not a database", MOVE),
    ],
)
def test_no_metadata(tmp_path, content, why, remedy):
    path = tmp_path / "metadata.sqlite"
    if content is not None:
        path.write_text(content)
    with (
        pytest.raises(EmorecError) as caught,
        metadata_store.opened(path),
    ):
        pass
    assert str(caught.value) == (f"{path}: no ML Metadata ({why}); {remedy}")
    assert path.exists() is (content is not None)


def test_metadata_that_is_a_folder(tmp_path):
    with (
        pytest.raises(EmorecError) as caught,
        metadata_store.opened(tmp_path),
    ):
        pass
    assert str(caught.value) == (
        f"{tmp_path}: no ML Metadata (it is no file); {MOVE}"
    )


def test_it_cannot_be_written_by_accident(store):
    with (
        pytest.raises(EmorecError, match="readonly"),
        metadata_store.opened(tiny_pipeline.METADATA) as read_only,
    ):
        kind = metadata_store.metadata_store_pb2.ContextType(name="new")
        read_only.put_context_type(kind)


def test_the_pipeline_that_is_meant(store):
    assert metadata_store.the_pipeline(store, None) == "tiny"
    with pytest.raises(UsageError) as caught:
        metadata_store.the_pipeline(store, "other")
    assert str(caught.value) == (
        "`--pipeline_name` must be one of those that ran: tiny. Received: other"
    )
