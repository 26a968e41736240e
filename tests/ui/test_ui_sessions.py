"""The files of visits: what is kept, and that all of it goes."""

import os
import time

import pytest

from emorec.errors import EmorecError
from emorec.ui import sessions


@pytest.fixture
def store(tmp_path):
    with sessions.Store(tmp_path) as store:
        yield store


def upload(store, name="a.mp4", bytes_=b"video"):
    """Puts a file where Gradio puts uploads."""
    folder = store.files / f"hash{len(list(store.files.iterdir()))}"
    folder.mkdir()
    (folder / name).write_bytes(bytes_)
    return folder / name


class FakeJob:
    def __init__(self):
        self.calls = []

    def start(self):
        self.calls.append("start")

    def stop(self):
        self.calls.append("stop")


def test_an_upload_moves_into_the_visit_and_replaces_the_last(store):
    session = store.session("a")
    first = session.adopt(upload(store, "first.mp4"))
    assert first.parent == session.folder and first.read_bytes() == b"video"
    (session.workplace() / "answers.csv").write_text("x")
    second = session.adopt(upload(store, "second.mp4"))
    assert list(session.folder.iterdir()) == [second]
    # Nothing is left where it was uploaded to.
    assert list(store.files.iterdir()) == [session.folder]
    # It is adopted already: as it is when the page sends it again.
    assert session.adopt(second) == second and second.exists()


def test_an_upload_that_is_gone_says_so(store):
    gone = store.files / "hash" / "a.mp4"
    with pytest.raises(EmorecError, match=r"is gone; drop it again$"):
        store.session("a").adopt(gone)


def test_visits_have_folders_of_their_own_that_nobody_guesses(store):
    a, b = store.session("a"), store.session("b")
    assert store.session("a") is a
    assert a.folder != b.folder
    assert min(len(s.folder.name) for s in (a, b)) >= 32
    assert (os.stat(a.folder).st_mode & 0o777) == 0o700
    assert (os.stat(store.files.parent).st_mode & 0o777) == 0o700


def test_a_new_job_stops_the_one_before_and_clears_its_folder(store):
    session = store.session("a")
    first, second = FakeJob(), FakeJob()
    place = session.workplace()
    assert session.start(first) and session.start(second)
    assert first.calls == ["start", "stop"] and second.calls == ["start"]
    assert session.workplace() != place and not place.exists()


def test_the_end_of_a_visit_stops_its_work_and_removes_its_files(store):
    session, job = store.session("a"), FakeJob()
    session.adopt(upload(store))
    session.start(job)
    other = store.session("b").adopt(upload(store))
    store.end("a")
    assert job.calls == ["start", "stop"]
    assert not session.folder.exists() and other.exists()
    late = FakeJob()
    assert not session.start(late) and late.calls == []
    store.end("a")


def test_clearing_keeps_the_visit(store):
    session, job = store.session("a"), FakeJob()
    session.adopt(upload(store))
    session.start(job)
    session.clear()
    assert job.calls[-1] == "stop"
    assert session.folder.exists() and not list(session.folder.iterdir())


def test_the_end_of_the_server_removes_everything(tmp_path):
    with sessions.Store(tmp_path) as store:
        store.session("a").adopt(upload(store))
        upload(store)
    assert not list(tmp_path.iterdir())
    store.close()


def test_what_no_visit_took_goes_after_a_while(store):
    session = store.session("a")
    kept = session.adopt(upload(store))
    broken_off = store.files / "tmp123"
    broken_off.write_bytes(b"half a video")
    given_up = upload(store)
    now = time.time()
    store.tidy(now + sessions.LOOSE_S - 10)
    assert broken_off.exists() and given_up.exists()
    store.tidy(now + sessions.LOOSE_S + 10)
    assert kept.exists()
    assert list(store.files.iterdir()) == [session.folder]


def test_a_start_removes_what_a_killed_server_left(store, tmp_path):
    dead = tmp_path / f"{sessions.PREFIX}dead"
    (dead / "files").mkdir(parents=True)
    (dead / "files" / "video.mp4").write_bytes(b"video")
    (dead / "lock").touch()
    young = tmp_path / f"{sessions.PREFIX}young"
    young.mkdir()  # A server that starts now and holds no lock yet.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    link = tmp_path / f"{sessions.PREFIX}link"
    link.symlink_to(elsewhere)
    sessions.sweep(tmp_path)
    assert not dead.exists()
    assert store.files.exists() and young.exists()
    assert link.is_symlink() and (elsewhere / "lock").exists()


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path):
    with pytest.raises(EmorecError, match=r"cannot be written .*set \$TMPDIR"):
        sessions.Store(tmp_path / "absent")
