"""`emorec predict --output --resume`: stopped, killed, and gone on with."""

import csv
import json
import os
import sys

import pandas as pd
import pytest
from testing.toy_prediction import ToyBackend, ToyDetector
from testing.videos import write_video

from emorec.cli import predict_files, predict_run
from emorec.errors import EmorecError
from emorec.predict_cuts import Cutting, Windows
from emorec.predict_sources import Sources


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Four videos of 3 to 12 frames, a bad one among them."""
    folder = tmp_path_factory.mktemp("videos")
    names = [
        str(write_video(folder / f"{i}.mp4", 3 * i, fps=8)) for i in (1, 2, 3)
    ]
    (folder / "bad.mp4").touch()
    last = str(write_video(folder / "last.mp4", 12, fps=8))
    return [*names[:2], str(folder / "bad.mp4"), names[2], last]


class Stopped(Exception):
    """Something ends the work."""


class Breaking(ToyBackend):
    """Fails when it is asked for a clip of so many frames."""

    def __init__(self, frames):
        super().__init__("clip.clip_frames=8")
        self._frames = frames
        self.description["info"] = {"data": {"sources": {}, "rows": {}}}
        self.description |= {"random_weights": [], "streams": [], "config": {}}

    def predict(self, clips):
        if any(c.frames_with_face == self._frames for c in clips):
            raise Stopped
        return super().predict(clips)


def predicted(videos, backend, cutting=Cutting(), **wanted):  # noqa: B008
    sources = Sources()
    start = predict_run.here(backend, ToyDetector(), cutting, sources, None)
    return predict_run.run(
        start,
        predict_files.Wanted(videos, **wanted),
        sources,
        quiet=True,
        aside=sys.stdout,
    )


def never(frames=-1):
    return Breaking(frames)


def stopped(videos, output, capsys, **wanted):
    """Breaks off in the last video but one; returns what was kept."""
    with pytest.raises(Stopped):
        predicted(videos, Breaking(9 - 1), output=output, **wanted)
    *_, line = capsys.readouterr().err.splitlines()
    kept = f"{output}.{os.getpid()}.partial"
    assert line.startswith(f"what was finished: {kept}")
    assert not os.path.exists(output)
    return kept


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_resumed_run_writes_what_a_whole_one_writes(
    videos, tmp_path, capsys, monkeypatch, ending
):
    monkeypatch.setattr("emorec.predict_cuts.LINGER_S", 0)
    monkeypatch.setattr("emorec.predict_cuts.BATCH_CLIPS", 1)
    whole, output = str(tmp_path / f"a{ending}"), str(tmp_path / f"b{ending}")
    assert predicted(videos, never(), output=whole) == 1
    kept = stopped(videos, output, capsys)
    with open(kept, "ab") as file:
        file.write(b'{"half of a line')  # It was killed while it wrote.
    backend = never()
    assert predicted(videos, backend, output=output, resume=True) == 1
    assert "resumed: 3 of 5 videos were done" in capsys.readouterr().out
    # Those of the last two videos alone were analysed.
    assert sum(map(sum, backend.asked)) == 9 + 12
    with open(whole, "rb") as a, open(output, "rb") as b:
        assert a.read() == b.read()
    assert not list(tmp_path.glob("*.partial"))
    read = {".jsonl": read_jsonl, ".csv": read_csv, ".parquet": read_parquet}
    names = [os.path.basename(name) for name in read[ending](output)]
    assert list(dict.fromkeys(names)) == [
        "1.mp4",
        "2.mp4",
        "bad.mp4",
        "3.mp4",
        "last.mp4",
    ]


def read_jsonl(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line)["video"] for line in file]


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [row["video"] for row in csv.DictReader(file)]


def read_parquet(path):
    return list(pd.read_parquet(path)["video"])


def test_what_is_of_other_settings_or_videos_is_not_taken(
    videos, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("emorec.predict_cuts.BATCH_CLIPS", 1)
    output = str(tmp_path / "a.jsonl")
    kept = stopped(videos, output, capsys)
    with open(kept, "rb") as file:
        before = file.read()
    other = str(tmp_path / f"a.jsonl.{os.getppid()}.partial")
    os.rename(kept, other)
    every = Cutting(every=Windows(0.5))
    changed = str(tmp_path / "changed.mp4")
    write_video(changed, 3, fps=8)
    for given, cutting, said in (
        (videos, every, "nothing is there to resume"),
        (videos[1:], Cutting(), "nothing is there to resume"),
        ([videos[0], changed, *videos[2:]], Cutting(), "resumed: 1 of 5"),
    ):
        with open(other, "wb") as file:
            file.write(before)
        predicted(given, never(), cutting, output=output, resume=True)
        assert said in capsys.readouterr().out
        assert os.path.exists(other) is ("nothing" in said)
    with open(other, "wb") as file:
        file.write(before)
    predicted(videos, never(), output=output)
    assert f"a stopped run has left {other}; --resume goes on" in (
        capsys.readouterr().out
    )


def test_a_run_that_is_alive_is_left_alone(
    videos, tmp_path, capsys, monkeypatch
):
    import fcntl

    monkeypatch.setattr("emorec.predict_cuts.BATCH_CLIPS", 1)
    output = str(tmp_path / "a.jsonl")
    kept = stopped(videos, output, capsys)
    other = str(tmp_path / "a.jsonl.1.partial")
    os.rename(kept, other)
    with open(other, "rb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        predicted(videos, never(), output=output, resume=True)
        assert "nothing is there to resume" in capsys.readouterr().out
        assert alive.read().count(b'"done"') == 3


def test_a_report_of_a_resumed_run_shows_all(
    videos, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("emorec.predict_cuts.BATCH_CLIPS", 1)
    shown = []

    class Report:
        def __init__(self, *_, **__):
            self.results = []

        def add(self, result):
            self.results.append(result)

        def write(self, path):
            shown.append(self.results)

    monkeypatch.setattr(predict_run.clip_report, "ClipReport", Report)
    pages = {"report": str(tmp_path / "page.html")}
    predicted(videos, never(), output=str(tmp_path / "a.jsonl"), **pages)
    output = str(tmp_path / "b.jsonl")
    stopped(videos, output, capsys, **pages)
    predicted(videos, never(), output=output, resume=True, **pages)
    whole, resumed = shown
    assert len(whole) == len(resumed) > 5
    for a, b in zip(whole, resumed, strict=True):
        assert a.to_dict() == b.to_dict()
        if a.clip is not None:
            assert a.clip.face == b.clip.face and all(b.clip.face)
            assert a.clip.context == b.clip.context
            assert (a.answer.attention == b.answer.attention).all()


def test_flags_that_need_another_are_refused(tmp_path):
    for given, said in (
        ({"resume": True}, "`--resume` belongs to --output"),
        ({"smooth": 1.0}, "`--smooth` belongs to --plot"),
        ({"output": "out.txt"}, "must go to a file that ends in .jsonl, .csv"),
        ({"annotate": "a.mp4"}, "`--annotate` must be a folder where there"),
        ({"plot": "a.pdf"}, "`--plot` must be a folder, or a file that ends"),
    ):
        with pytest.raises(EmorecError) as caught:
            predict_files.Wanted(["x.mp4", "y.mp4"], **given)
        assert said in str(caught.value)
        assert caught.value.exit_code == 2
    with pytest.raises(EmorecError, match="a camera or stream cannot be"):
        predict_files.Wanted(["rtsp://u:p@host/a"], annotate="a.mp4")


def test_pictures_have_the_names_of_their_videos(tmp_path):
    videos = ["a/x.mp4", "b/x.mkv", "http://u:p@h/X.mp4?a=1", "y.mp4"]
    made = predict_files.Targets("plot", str(tmp_path / "p"), [".png"], videos)
    assert [os.path.basename(made[i]) for i in range(4)] == [
        "x.png",
        "x-2.png",
        "X-3.png",
        "y.png",
    ]
    (tmp_path / "v.mp4").touch()
    with pytest.raises(EmorecError, match="is one of the videos, which are"):
        predict_files.Targets(
            "annotate", str(tmp_path), [".mp4"], [str(tmp_path / "v.mp4")]
        )
    with pytest.raises(EmorecError, match=r"cannot be written \(No such file"):
        predict_files.Targets(
            "plot", str(tmp_path / "none" / "a.png"), [".png"], ["y.mp4"]
        )
