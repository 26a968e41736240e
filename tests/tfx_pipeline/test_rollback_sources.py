"""A rollback serves what was pushed, not what has become of a copy of it."""

import pathlib
import shutil

import pytest
from testing import commands, tiny_pipeline
from testing.tiny_rollback import (
    SERVING,
    copies,
    everything,
    roll_back,
    told,
    tree,
)

from emorec.errors import EmorecError, ExportError
from tfx_pipeline import metadata_store, pushes


def test_what_was_removed_from_the_server_comes_from_the_pipeline(world):
    first = world.versions[0]
    wanted = tree(SERVING / str(first))
    shutil.rmtree(SERVING / str(first))
    made = roll_back()
    assert tree(SERVING / str(made.version)) == wanted
    with metadata_store.opened(tiny_pipeline.METADATA) as store:
        archive = pushes.pushed_versions(store, tiny_pipeline.NAME)[-1].archive
    shutil.rmtree(archive)
    again = roll_back(world.versions[0])
    shutil.rmtree(SERVING / str(made.version))
    assert roll_back(first).rolled_back_from == again.version


def test_files_that_are_gone(world):
    shutil.rmtree(SERVING / str(world.versions[0]))
    for node in ("Pusher", "Trainer"):
        shutil.rmtree(pathlib.Path(tiny_pipeline.ROOT) / node)
    before = everything()
    with pytest.raises(ExportError, match="its files are gone, or some"):
        roll_back()
    assert everything() == before


def _spoil(folder, how):
    folder = pathlib.Path(folder)
    if how == "another model":
        (folder / "saved_model.pb").write_text("another")
    elif how == "another file":
        (folder / "fingerprint.pb").write_text("another")
    elif how == "no folder of variables":
        shutil.rmtree(folder / "variables")
    else:
        for path in (folder / "variables").glob(f"variables.{how}*"):
            path.unlink()


SPOILT = [
    "another model",
    "another file",
    "no folder of variables",
    "data",
    "index",
]


@pytest.mark.parametrize("how", SPOILT)
def test_what_was_pushed_is_served_not_what_became_of_it(world, how):
    destination, archive, _ = copies()
    wanted = tree(pathlib.Path(archive))
    _spoil(destination, how)
    spoilt = tree(SERVING / str(world.versions[0]))
    assert spoilt != wanted
    made = roll_back()
    assert tree(SERVING / str(made.version)) == wanted
    # It is left as it is: a server may be using it.
    assert tree(SERVING / str(world.versions[0])) == spoilt


def test_the_one_that_two_others_disown_is_passed_over(world):
    _, archive, _ = copies()
    wanted = tree(SERVING / str(world.versions[0]))
    _spoil(archive, "another model")
    assert tree(SERVING / str(roll_back().version)) == wanted


def test_two_models_and_nothing_tells_which_was_pushed(world):
    destination, archive, model = copies()
    _spoil(destination, "another model")
    shutil.rmtree(archive)
    before = everything()
    with pytest.raises(ExportError) as caught:
        roll_back()
    assert str(caught.value) == (
        f"version {world.versions[0]}: {destination} and {model} differ, so "
        "that nothing tells what was pushed; remove what is wrong, or choose "
        "another version"
    )
    assert everything() == before


@pytest.mark.parametrize("how", ["data", "index", "no folder of variables"])
def test_a_version_of_which_no_copy_is_whole(world, how):
    for place in copies():
        _spoil(place, how)
    before = everything()
    with pytest.raises(ExportError, match="files are gone, or some of them"):
        roll_back()
    assert everything() == before


def test_what_lacks_its_values_is_not_served(world):
    first, second = world.versions
    assert pushes.served(tiny_pipeline.SERVING) == second
    _spoil(SERVING / str(second), "data")
    assert pushes.served(tiny_pipeline.SERVING) == first
    assert told().served == first


@pytest.mark.parametrize("below", ["", "/emotion"])
def test_a_base_path_that_is_no_folder(world, below, capsys):
    place = pathlib.Path("serving/emotion" if not below else "serving")
    shutil.rmtree(place)
    place.write_text("")
    for call in (
        roll_back,
        told,
        lambda: pushes.numbers(tiny_pipeline.SERVING),
    ):
        with pytest.raises(EmorecError, match="must be a folder") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert place.is_file()
    done = commands.here(
        capsys, "pipeline", "status", "--metadata=metadata.sqlite"
    )
    assert (done.code, "must be a folder" in done.fault()) == (1, True)
