"""Work in a thread: its end, its faults, its stopping."""

import threading

from emorec.errors import VideoError
from emorec.ui import jobs


def run(work) -> jobs.Job:
    job = jobs.Job(work)
    job.start()
    assert job.wait(10)
    return job


def test_a_job_tells_how_far_it_is_and_gives_its_outcome():
    seen = threading.Event()
    looked = threading.Event()

    def work(job):
        job.tell("Looking", 0.25)
        seen.set()
        assert looked.wait(10)
        job.tell("Writing", 7)
        return jobs.Outcome(view={"name": "a"})

    job = jobs.Job(work)
    job.start()
    assert seen.wait(10)
    assert (job.stage, job.share, job.outcome) == ("Looking", 0.25, None)
    assert not job.wait(0)
    looked.set()
    assert job.wait(10)
    assert (job.stage, job.share) == ("Writing", 1)
    assert job.outcome.view == {"name": "a"}


def test_a_job_that_is_stopped_ends_at_its_next_step():
    begun = threading.Event()

    def work(job):
        begun.set()
        while True:
            job.tell("Looking", 0)

    job = jobs.Job(work)
    job.start()
    assert begun.wait(10)
    job.stop()
    assert job.wait(10) and job.outcome is None


def test_an_error_that_the_user_can_mend_is_told_in_its_words():
    def work(job):
        raise VideoError("a.mp4: is empty (0 bytes); fetch it again")

    told = run(work).outcome.error
    assert told == "a.mp4: is empty (0 bytes); fetch it again"


def test_a_fault_of_ours_shows_no_traceback_on_the_page(capsys):
    def work(job):
        raise KeyError("secret")

    told = run(work).outcome.error
    assert "not the video's fault" in told and "secret" not in told
    assert "KeyError: 'secret'" in capsys.readouterr().err


def test_the_time_left_is_told_when_it_is_known(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(jobs.time, "monotonic", lambda: now[0])
    job = jobs.Job(lambda job: None)
    assert job.left is None
    now[0] += 10
    assert job.left is None
    job.tell("Looking", 0.25)
    assert job.left == 30
