"""Videos beneath a folder, by the names that a table gives them."""

import re

import pytest

from emorec.data import video_folder
from emorec.data.video_folder import VideoFolder
from emorec.errors import EmorecError, UsageError

NAMES = (
    "001.avi", "a.b.avi", "a.b.c.avi", "déjà.avi", "情感 1.avi", "sub/004.MP4",
    "sub/notes.txt", "twice.avi", "twice.mp4", "sub/twice.avi",
)  # fmt: skip


@pytest.fixture
def clips(tmp_path):
    """Empty files beneath `clips`: nothing opens them."""
    for name in NAMES:
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "clips"


def fault(clips, written) -> str:
    with pytest.raises(LookupError) as e:
        VideoFolder(str(clips)).find(written)
    return str(e.value)


@pytest.mark.parametrize(
    ("written", "video"),
    [
        ("001.avi", "001.avi"),
        ("001", "001.avi"),
        ("001.AVI", "001.avi"),
        ("./001.avi", "001.avi"),
        ("Clips/001", "001.avi"),
        ("sub/../001", "001.avi"),
        ("004", "sub/004.MP4"),
        ("004.mp4", "sub/004.MP4"),
        ("SUB/004", "sub/004.MP4"),
        ("clips\\sub\\004.mp4", "sub/004.MP4"),
        ("a.b", "a.b.avi"),
        ("a.b.c", "a.b.c.avi"),
        ("de\u0301ja\u0300", "déjà.avi"),
        ("情感 1", "情感 1.avi"),
        # An exact path goes before the same name elsewhere.
        ("twice.avi", "twice.avi"),
        ("sub/twice", "sub/twice.avi"),
        ("twice.mp4", "twice.mp4"),
    ],
)
def test_names(clips, written, video):
    found = VideoFolder(str(clips))
    assert found.find(written) == f"{clips}/{video}"
    assert len(found) == 9


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("01.avi", ""),
        ("a", ""),
        ("sub", ""),
        (".", ""),
        ("notes.txt", ""),
        ("other/clips/001", "; there is '001.avi'"),
        ("001.mp4", "; there is '001.avi'"),
    ],
)
def test_names_of_no_video(clips, written, hint):
    assert fault(clips, written) == f"there is no video {written!r}{hint}"


def test_names_of_several_videos(clips):
    assert fault(clips, "twice") == (
        "video 'twice' could be 'twice.avi' or 'twice.mp4' or "
        "'sub/twice.avi'; write its folder and its ending"
    )
    for i in range(5):
        (clips / f"twice{i}").mkdir()
        (clips / f"twice{i}" / "x.avi").touch()
    assert fault(clips, "x").endswith(
        "or 'twice3/x.avi' or 1 more; write its folder and its ending"
    )


@pytest.mark.parametrize(
    "written", ["..", "../film.avi", "a/../../film.avi", "..\\film.avi",
                "/film.avi", "\\film.avi", "C:\\film.avi", "//x/film.avi"]
)  # fmt: skip
def test_names_that_leave_the_folder(clips, written):
    (clips.parent / "film.avi").touch()
    assert fault(clips, written) == (
        f"video {written!r} must be a name beneath the folder of the videos, "
        "without '..'"
    )


def test_links(clips):
    outside = clips.parent / "film.avi"
    outside.touch()
    (clips / "out.avi").symlink_to(outside)
    (clips / "in.avi").symlink_to("001.avi")
    (clips / "gone.avi").symlink_to("no.avi")
    (clips / "linked").symlink_to("sub")
    (clips / "circle").symlink_to(".")
    assert fault(clips, "out") == (
        "video 'out.avi' is a link that leads out of the folder of the "
        "videos; put the file there"
    )
    assert fault(clips, "gone") == "there is no video 'gone'"
    assert fault(clips, "linked/004").startswith("there is no video")
    assert VideoFolder(str(clips)).find("in") == f"{clips}/in.avi"
    # The folder itself may be a link.
    (clips.parent / "link").symlink_to("clips")
    found = VideoFolder(f"{clips.parent}/link").find("001")
    assert found == f"{clips.parent}/link/001.avi"


@pytest.mark.parametrize("name", [b"new\nline", b"caf\xe9"])
def test_paths_that_no_manifest_can_hold(clips, name):
    folder = bytes(clips) + b"/" + name
    (clips / "x").mkdir()
    (clips / "x" / "nl.avi").touch()
    (clips / "x").rename(folder.decode(errors="surrogateescape"))
    told = repr(name.decode(errors="surrogateescape") + "/nl.avi")
    assert fault(clips, "nl") == (
        f"video {told} has a path that no manifest can hold; rename it or "
        "its folders"
    )
    fault(clips, "nl").encode()


def test_folders_that_are_none(tmp_path, monkeypatch):
    for path in (tmp_path / "no", tmp_path / "file.avi"):
        (tmp_path / "file.avi").touch()
        with pytest.raises(UsageError) as e:
            VideoFolder(str(path))
        assert str(e.value) == (
            f"`videos` must be a folder of clips. Received: '{path}'"
        )
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.avi").mkdir()
    message = rf"{tmp_path}/empty: holds no videos \(\.3gp, \.avi, .*\); give"
    with pytest.raises(EmorecError, match=message):
        VideoFolder(f"{tmp_path}/empty")
    monkeypatch.setattr(video_folder, "MAX_VIDEOS", 1)
    (tmp_path / "b.mkv").touch()
    message = re.escape(f"{tmp_path}: more than 1 videos; give a folder that")
    with pytest.raises(EmorecError, match=message):
        VideoFolder(str(tmp_path))
