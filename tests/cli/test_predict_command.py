"""`emorec predict`: folders, workers, and what they change: nothing."""

import csv
import json
import shutil

import pytest
from testing import commands

from emorec.cli import predict as command
from emorec.data import processes


@pytest.fixture
def here(capsys):
    return lambda *args: commands.here(capsys, *args)


@pytest.fixture
def folder(sample_set, tmp_path):
    """A folder of two videos, one below it, a bad one and a text."""
    videos = sorted(sample_set.parent.rglob("*.mp4"))
    made = tmp_path / "videos"
    (made / "below").mkdir(parents=True)
    shutil.copy(videos[0], made / "b.mp4")
    shutil.copy(videos[9], made / "c.MP4")
    shutil.copy(videos[17], made / "below" / "a.mp4")
    (made / "bad.mkv").touch()
    (made / "notes.txt").write_text("no video")
    return made


def results(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_workers_write_what_one_process_writes(
    here, folder, onnx_dir, tmp_path
):
    made = []
    for workers in (1, 2):
        output = tmp_path / f"{workers}.jsonl"
        page = tmp_path / f"{workers}.html"
        done = here(
            "predict",
            folder,
            f"--onnx={onnx_dir}",
            f"--workers={workers}",
            f"--output={output}",
            f"--report={page}",
            "--blur_faces",
            "--smooth=1",
            "--detect_every=2",
        )
        assert done.code == 0
        made.append((results(output), done.err.splitlines()[-2:], page))
    (one, said, page), (two, also_said, also_page) = made
    assert said == also_said
    assert said == [
        f"emorec predict: {folder}/bad.mkv: is empty (0 bytes); fetch it again",
        "emorec predict: 1 of 4 videos could not be read, or not to their "
        "end; each is marked in the output",
    ]
    names = ["b.mp4", "bad.mkv", "below/a.mp4", "c.MP4"]
    assert [r["video"] for r in one] == [f"{folder}/{n}" for n in names]
    for a, b in zip(one, two, strict=True):
        if "error" not in a:
            p, q = a.pop("probabilities"), b.pop("probabilities")
            assert p == pytest.approx(q, abs=1e-5)
            assert a["frames_with_face"] == 6
        assert a == b
    for text in (page.read_text(), also_page.read_text()):
        assert text.count("data:image/jpeg;base64,/9j/") >= 3 * 6


def test_windows_tables_and_timelines(here, folder, onnx_dir, tmp_path):
    output, plots = tmp_path / "out.csv", tmp_path / "plots"
    done = here(
        "predict",
        f"{folder}/**/*.mp4",
        f"--onnx={onnx_dir}",
        "--fps=4",
        "--every=0.5,0.25",
        "--people=main",
        "--uncertain_below=1",
        f"--output={output}",
        f"--plot={plots}",
        "--smooth=0.5",
    )
    assert done.code == 0, done.err
    assert "note: the model is made for 8 frames a second; at 4" in done.out
    with open(output, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # 0.75 s are three frames at 4 a second: two windows of two, and a whole.
    names = [str(folder / n) for n in ("b.mp4", "below/a.mp4")]
    assert [r["video"] for r in rows] == [n for n in names for _ in range(3)]
    assert [r["whole"] for r in rows] == ["false", "false", "true"] * 2
    assert [r["frames"] for r in rows] == ["2", "2", "3"] * 2
    assert {r["uncertain"] for r in rows} == {"true"}
    assert done.out.count("(uncertain)") == 6
    assert done.out.count("whole video, person 0: ") == 2
    assert sorted(p.name for p in plots.iterdir()) == ["a.png", "b.png"]


def test_choices_that_do_not_fit_are_told_before_the_model_is_loaded(
    here, folder
):
    for flags, said in (
        (["--every=1,2,3"], "`every` must be WINDOW or WINDOW,STRIDE"),
        (["--resume"], "`--resume` belongs to --output"),
        (["--output=a.xml"], "results must go to a file that ends in .jsonl"),
        (["--annotate=a.mp4"], "`--annotate` must be a folder where there are"),
    ):
        done = here("predict", folder, "--onnx=nowhere", *flags)
        assert done.code == 2
        assert said in done.fault()


@pytest.mark.parametrize("flag", ["output", "report"])
def test_a_place_that_takes_no_files_is_told_before_the_work(
    here, folder, flag
):
    for place in ("/proc", folder / "notes.txt"):
        path = f"{place}/a.jsonl"
        done = here("predict", folder, "--onnx=nowhere", f"--{flag}={path}")
        assert done.code == 1
        assert done.fault().startswith(f"emorec predict: {path}: cannot be ")
        assert "written" in done.fault()


def test_a_folder_without_videos_is_told(here, onnx_dir, tmp_path):
    (tmp_path / "empty").mkdir()
    done = here("predict", tmp_path / "empty", f"--onnx={onnx_dir}")
    assert done.code == 1
    assert done.err.splitlines()[-1] == (
        f"emorec predict: {tmp_path}/empty: is a folder; name the video "
        "files in it"
    )


def test_a_video_of_the_folder_is_never_overwritten(here, folder):
    done = here(
        "predict", folder, "--onnx=nowhere", f"--output={folder / 'b.mp4'}"
    )
    assert done.code == 2
    assert "is one of the videos, which are never overwritten" in done.fault()


def test_an_absent_model_is_one_line_from_workers_too(here, folder):
    done = here("predict", folder, "--onnx=nowhere", "--workers=2")
    assert done.code == 1
    assert done.fault().startswith(
        "emorec predict: nowhere: no ONNX directory of emorec"
    )


@pytest.mark.parametrize(
    "flag",
    [
        "--workers=-1",
        "--workers=257",
        "--detect_every=0",
        "--fps=0",
        "--duration=0",
        "--max_download_mb=0",
        "--uncertain_below=1.1",
        "--smooth=-1",
    ],
)
def test_a_flag_out_of_bounds(here, flag):
    done = here("predict", "a.mp4", "--onnx=nowhere", flag)
    assert done.code == 2
    name, _, value = flag.removeprefix("--").partition("=")
    assert f"flag --{name}={value}: " in done.fault()


def test_detect_every_changes_how_clips_are_cut_alone(onnx_dir):
    for given, every in ((["--detect_every=5"], 5), ([], None)):
        for flag in command.FLAGS:
            command.FLAGS[flag].unparse()
        command.FLAGS(["emorec predict", f"--onnx={onnx_dir}", *given])
        backend, detector = command._make(1)
        if every is None:
            assert backend.config == plain(backend)
        else:
            assert backend.config.detector.detect_every == every
        changed = backend.config.override(
            [f"detector.detect_every={plain(backend).detector.detect_every}"]
        )
        assert changed == plain(backend)
        assert detector.config == backend.config.detector


def plain(backend):
    """The config of the model as it was exported."""
    return type(backend.config).from_dict(backend.description["config"])


@pytest.mark.parametrize(
    "cores, free_kb, videos, workers",
    [
        (4, 99 << 20, 0, 1),
        (4, 99 << 20, 31, 1),
        (4, 99 << 20, 32, 2),
        (4, 99 << 20, 1000, 4),
        (4, 5 << 20, 1000, 3),
        (4, 1 << 20, 1000, 1),
        (1, 99 << 20, 1000, 1),
    ],
)
def test_how_many_workers_are_started(
    monkeypatch, tmp_path, cores, free_kb, videos, workers
):
    memory = tmp_path / "meminfo"
    memory.write_text(f"MemFree:  1 kB\nMemAvailable:   {free_kb} kB\n")
    monkeypatch.setattr(processes, "_MEMORY", str(memory))
    monkeypatch.setattr(processes, "cores", lambda: cores)
    assert processes.default_workers(videos) == workers
    memory.unlink()  # Another system.
    assert processes.default_workers(videos) == max(1, min(cores, videos // 16))
