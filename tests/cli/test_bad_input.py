"""Bad input through the real commands: one clear line, and the others go on."""

import contextlib
import ctypes
import json
import os
import pathlib
import resource
import shutil
import signal

import av
import pytest
from testing import commands, videos


@pytest.fixture
def here(capsys):
    return lambda *args: commands.here(capsys, *args)


@pytest.fixture
def good(sample_set) -> pathlib.Path:
    """A sound video with a face."""
    return sorted(sample_set.parent.rglob("*.mp4"))[0]


def empty(path, good):
    path.touch()
    return "is empty (0 bytes); fetch it again"


def truncated(path, good):
    # The index of an MP4 lies at its end: without it nothing can be found.
    shutil.copy(good, path)
    videos.truncate(path, 0.5)
    return "it may be cut short"


def bit_flipped(path, good):
    shutil.copy(good, path)
    videos.flip_bytes(path, path.stat().st_size // 2, after=0.0)
    return ""


def audio_only(path, good):
    videos.write_audio(path)
    return "has no video stream; give a file with pictures"


def zero_length(path, good):
    videos.write_video(path, 0, pictures=[])
    return ""


def no_video(path, good):
    path.write_text("It was a dark and stormy night.\n" * 200)
    return "cannot be read as a video"


def picture(path, good):
    import skimage.data

    shutil.copy(pathlib.Path(skimage.data.data_dir) / "astronaut.png", path)
    return "picture, which are not read: give an MP4 or Matroska file"


def missing(path, good):
    return "no such file; check the path"


def folder(path, good):
    path.mkdir()
    return "is a folder; name the video files in it"


def pipe(path, good):
    os.mkfifo(path)
    return "is not a plain file"


def hls_playlist(path, good):
    path.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{good}\n#EXT-X-ENDLIST\n"
    )
    return "be a playlist or picture, which are not read"


def url_playlist(path, good):
    path.write_text(
        "#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/v.mp4\n#EXT-X-ENDLIST\n"
    )
    return "be a playlist or picture, which are not read"


def ffconcat(path, good):
    path.write_text(f"ffconcat version 1.0\nfile '{good}'\n")
    return "be a playlist or picture, which are not read"


def huge(path, good):
    videos.write_huge_header(path.with_suffix(".avi"), 16_000).rename(path)
    return "16000 x 16000 are over 35389440 pixels"


KINDS = (
    empty,
    truncated,
    bit_flipped,
    audio_only,
    zero_length,
    no_video,
    picture,
    missing,
    folder,
    pipe,
    hls_playlist,
    url_playlist,
    ffconcat,
    huge,
)


@pytest.mark.parametrize("make", KINDS, ids=lambda m: m.__name__)
def test_a_bad_video_alone_fails_with_one_line(
    here, tmp_path, model_dir, good, make
):
    path = tmp_path / f"{make.__name__}.mp4"
    message = make(path, good)
    output = tmp_path / "out.jsonl"
    done = here(
        "predict", path, f"--model_dir={model_dir}", f"--output={output}"
    )
    assert done.code == 1
    assert done.fault().startswith(f"emorec predict: {path}: ")
    assert message in done.fault()
    (result,) = map(json.loads, output.read_text().splitlines())
    assert result == {
        "video": str(path),
        "error": done.fault().removeprefix("emorec predict: "),
    }


@pytest.fixture
def cut_short(tmp_path, good):
    """A Matroska file of 3 s that breaks off in the middle."""
    path = tmp_path / "cut.mkv"
    with av.open(str(good)) as video:
        pictures = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
    videos.write_video(
        path,
        pictures=pictures * 4,
        fps=16,
        size=(pictures[0].shape[1], pictures[0].shape[0]),
    )
    return videos.truncate(path, 0.4)


def test_a_video_cut_short_gives_what_it_has_and_fails_alone(
    here, tmp_path, model_dir, cut_short, good
):
    output = tmp_path / "out.jsonl"
    done = here(
        "predict", cut_short, f"--model_dir={model_dir}", f"--output={output}"
    )
    assert done.code == 1
    assert f"{cut_short}: is damaged or cut short (" in done.fault()
    assert done.fault().endswith("the rest was used: get the file again")
    results = [json.loads(line) for line in output.read_text().splitlines()]
    assert 0 < sum(r["frames"] for r in results) < 24
    assert "probabilities" in results[-1]
    assert f"emorec predict: {results[-1]['warning']}" == done.fault()
    both = here(
        "predict",
        cut_short,
        good,
        f"--model_dir={model_dir}",
        f"--output={output}",
    )
    assert both.code == 0
    assert len(both.err.splitlines()) == 2


def test_prepare_keeps_and_lists_a_video_cut_short(here, tmp_path, cut_short):
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"video,label,split\n{cut_short.name},happy,test\n")
    done = here(
        "prepare", f"--manifest={manifest}", f"--output_dir={tmp_path / 'data'}"
    )
    assert done.code == 0
    assert f"damaged, line 2: {cut_short}: is damaged" in done.out
    made = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert [d["line"] for d in made["damaged"]] == [2]
    assert made["splits"]["test"]["records"] == 1


def test_in_a_batch_the_others_go_on(here, tmp_path, model_dir, good):
    wrong = {}
    for make in KINDS:
        path = tmp_path / f"{make.__name__}.mp4"
        wrong[str(path)] = make(path, good)
    names = list(wrong)
    output, report = tmp_path / "out.jsonl", tmp_path / "report.html"
    done = here(
        "predict",
        *names[:5],
        good,
        *names[5:],
        f"--model_dir={model_dir}",
        f"--output={output}",
        f"--report={report}",
    )
    assert done.code == 0
    assert "Traceback" not in done.err
    lines = done.err.splitlines()
    assert len(lines) == len(wrong) + 1
    assert lines[-1] == (
        f"emorec predict: {len(wrong)} of {len(wrong) + 1} videos could not "
        "be read, or not to their end; each is marked in the output"
    )
    results = [json.loads(line) for line in output.read_text().splitlines()]
    assert [r["video"] for r in results] == [*names[:5], str(good), *names[5:]]
    for result in results:
        if result["video"] == str(good):
            assert result["frames_with_face"] == result["frames"] == 6
            assert sum(result["probabilities"].values()) == pytest.approx(
                1, 1e-4
            )
        else:
            assert result["error"].startswith(f"{result['video']}: ")
            assert wrong[result["video"]] in result["error"]
    page = report.read_text(encoding="utf-8")
    assert all(f"<h2>{name}</h2>" in page for name in names)
    assert not list(tmp_path.glob("*.partial"))


@contextlib.contextmanager
def like_anybody():
    """Takes from root the power to read what its permissions forbid.

    The rest of root's files stay readable, which another user could not read.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # Version 3, this thread.
    words = (ctypes.c_uint32 * 6)()  # Twice effective, permitted, inheritable.
    assert libc.capget(header, words) == 0
    before = words[0]
    words[0] = before & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH.
    assert libc.capset(header, words) == 0
    try:
        yield
    finally:
        words[0] = before
        assert libc.capset(header, words) == 0


def test_a_video_that_may_not_be_read(here, tmp_path, model_dir, good):
    path = tmp_path / "mine.mp4"
    shutil.copy(good, path)
    path.chmod(0)
    with like_anybody():
        done = here("predict", path, f"--model_dir={model_dir}")
    assert done.code == 1
    assert done.err.splitlines()[-1] == (
        f"emorec predict: {path}: may not be read; check its permissions"
    )
    assert json.loads(done.out)["error"].startswith(f"{path}: may not be read")


def test_a_name_that_is_not_utf8(here, tmp_path, model_dir, good):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.mp4")
    shutil.copy(good, path)
    output, report = tmp_path / "out.jsonl", tmp_path / "report.html"
    args = ["predict", path, f"--model_dir={model_dir}"]
    done = here(*args, f"--output={output}", f"--report={report}")
    assert done.code == 0
    assert json.loads(output.read_text())["video"] == path
    assert done.err == ""
    # On standard output there are results and nothing else.
    done = here(*args)
    assert done.code == 0
    assert json.loads(done.out)["video"] == path
    assert "RANDOM frozen weights" in done.err


@pytest.mark.parametrize(
    "flag",
    ["--output=absent/out.jsonl", "--report=absent/r.html", "--output=."],
)
def test_an_output_that_cannot_be(here, tmp_path, monkeypatch, good, flag):
    monkeypatch.chdir(tmp_path)
    # Told before the model is looked for, let alone the video.
    done = here("predict", good, "--model_dir=nowhere", flag)
    assert done.code == 1
    path = flag.partition("=")[2]
    assert done.fault() == (
        f"emorec predict: {path}: cannot be written there; choose a file in "
        "a folder that exists and is yours"
    )


@pytest.fixture
def small_files():
    """Lets no file of this process grow beyond 4 KiB: a disk that is full."""
    # Python meets EFBIG instead of dying of SIGXFSZ, which it ignores.
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size=4096):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_what_was_finished(
    here, tmp_path, model_dir, good, small_files
):
    output = tmp_path / "out.jsonl"
    args = [
        "predict",
        *[good] * 8,
        f"--model_dir={model_dir}",
        f"--output={output}",
        "--quiet",
    ]
    small_files()
    done = here(*args)
    small_files(resource.RLIM_INFINITY)
    assert done.code == 1
    # With the process's number, so that two runs have two.
    partial = f"{output}.{os.getpid()}.partial"
    first, last = done.err.splitlines()
    assert first.startswith(f"what was finished: {partial} (")
    assert first.endswith(
        " of 8 videos; the same command with --resume goes on after them)"
    )
    assert last == (
        f"emorec predict: {output}: cannot be written (File too large); free "
        "some space or choose another place"
    )
    assert not output.exists()
    kept = pathlib.Path(partial).read_text().splitlines()
    assert len(kept) >= 2
    assert json.loads(kept[0])["video"] == str(good)


def test_a_report_that_does_not_fit_on_the_disk(
    here, tmp_path, model_dir, good, small_files
):
    report = tmp_path / "report.html"
    report.write_text("the report of yesterday")
    small_files()
    done = here(
        "predict",
        good,
        f"--model_dir={model_dir}",
        f"--output={tmp_path / 'out.jsonl'}",
        f"--report={report}",
        "--no_thumbnails",  # Else a stopped run would keep them too.
    )
    small_files(resource.RLIM_INFINITY)
    assert done.code == 1
    assert f"{report}: cannot be written (File too large)" in done.fault()
    assert report.read_text() == "the report of yesterday"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "out.jsonl",
        "report.html",
    ]
