"""The page in a real browser, served by the real command without TensorFlow."""

import csv
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from testing import commands
from testing.videos import write_video

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed"
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Notes each address that the server connects to or looks up.
AUDITED = """
import sys
log = open(sys.argv.pop(1), "a", buffering=1)
def hook(event, args):
    if event == "socket.connect":
        print(args[1], file=log)
    elif event == "socket.getaddrinfo":
        print(args[:2], file=log)
sys.addaudithook(hook)
from emorec.cli import app
sys.exit(app.run("ui", sys.argv[1:]))
"""
WAIT = 20_000  # Milliseconds.


@dataclasses.dataclass
class Server:
    """`emorec ui` in a process of its own."""

    process: subprocess.Popen
    url: str
    temporary: pathlib.Path
    connections: pathlib.Path

    def visits(self) -> list[pathlib.Path]:
        """The folders of those whose files are kept."""
        found = self.temporary.glob("emorec_ui_*/files/*")
        return [p for p in found if p.is_dir() and len(p.name) == 32]


@pytest.fixture(scope="module")
def server(onnx_dir, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("ui") / "tmp"
    temporary.mkdir()
    connections = temporary.parent / "connections"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", AUDITED, connections),
            *(f"--onnx={onnx_dir}", "--port=0"),
            *("--max_upload_mb=0.3", "--max_seconds=20"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**commands.environment(), "TMPDIR": str(temporary)},
    )
    url = None
    while url is None:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        url = re.match(r"http://127\.0\.0\.1:\d+/", line)
    yield Server(process, url.group(), temporary, connections)
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    """The open page; fails where it asked another host or had an error."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WAIT)
    asked, faults = set(), []
    page.on("request", lambda request: asked.add(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(server.url)
    page.wait_for_selector("#emorec-go")
    yield page
    context.close()
    assert not faults
    assert len(asked) > 10
    own = (server.url, f"blob:{server.url}", "data:")
    assert not [url for url in asked if not url.startswith(own)]


def drop(page, path):
    page.set_input_files("#emorec-upload input[type=file]", path)


def analyse(page):
    page.click("#emorec-go:not([disabled])")
    page.wait_for_selector("#emorec-viewer .viewer h3")


def table(page, button, folder):
    with page.expect_download() as waiting:
        page.click(button)
    waiting.value.save_as(folder / waiting.value.suggested_filename)
    with open(folder / waiting.value.suggested_filename, newline="") as f:
        return list(csv.DictReader(f))


def until(condition, seconds=15):
    """Waits for what happens outside the page."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.05)


def test_a_dropped_video_gives_its_answer(page, clip, tmp_path):
    drop(page, clip)
    page.wait_for_selector("text=ready to analyse")
    page.click("#emorec-go:not([disabled])")
    page.wait_for_selector("#emorec-status .progress-line")
    page.wait_for_selector("#emorec-viewer .viewer h3")
    assert page.inner_text("#emorec-viewer h3") == clip.name
    label = page.inner_text(".viewer .card .label").split("\n")[0]
    rows = table(page, "#emorec-csv", tmp_path)
    assert label.startswith(rows[-1]["label"])
    assert rows[-1]["video"] == clip.name
    # The annotated video plays.
    page.wait_for_function(
        "() => document.querySelector('.viewer video').readyState >= 2"
    )
    playing = "document.querySelector('.viewer video')"
    assert page.evaluate(f"{playing}.duration") == pytest.approx(0.75, abs=0.1)
    page.screenshot(path=tmp_path / "page.png", full_page=True)

    # The timeline, the map and the frames looked at follow the playhead.
    row = "document.querySelector('.viewer').dataset.row"
    assert page.evaluate(row) == "0"
    chart = page.locator(".viewer .timeline svg")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.click(box["x"] + 0.95 * box["width"], box["y"] + 20)
    page.wait_for_function(f"() => +{row} >= 4")
    assert page.evaluate(f"{playing}.currentTime") > 0.6
    assert float(page.get_attribute(".playhead", "x1")) > 600
    first = page.locator(".viewer .looked .frame").first
    time_ = float(first.inner_text().split(" s")[0])
    first.click()
    page.wait_for_function(f"() => {playing}.currentTime < {time_} + 0.1")
    pictures = page.eval_on_selector_all(
        ".viewer .looked img", "all => all.map(i => i.naturalWidth)"
    )
    assert pictures and set(pictures) <= {128}


def test_privacy_is_chosen_on_the_page(page, clip, server):
    page.check("#emorec-blur input")
    page.check("#emorec-bare input")
    drop(page, clip)
    analyse(page)
    assert page.locator(".viewer .looked .frame").count() > 0
    assert page.locator(".viewer .looked img").count() == 0
    [visit] = server.visits()
    assert any(visit.rglob("*.mp4")) and not any(visit.rglob("*.jpg"))
    # All of it goes by a click, while the page stays open.
    page.click("#emorec-clear")
    until(lambda: not any(visit.iterdir()))
    page.wait_for_selector("#emorec-go[disabled]")


def test_closing_the_page_removes_its_files(page, clip, server):
    drop(page, clip)
    page.wait_for_selector("text=ready to analyse")
    [visit] = server.visits()
    assert (visit / clip.name).exists()
    page.close()
    until(lambda: not visit.exists())


def test_what_is_over_the_limits_is_refused_at_once(page, server, tmp_path):
    long = write_video(tmp_path / "long.mp4", 21, fps=1)
    drop(page, long)
    fault = page.wait_for_selector("#emorec-status .fault")
    assert fault.inner_text() == (
        "long.mp4: 21 s are over this page's 20 s; cut it, or start the page "
        "with a larger --max_seconds"
    )
    assert page.is_disabled("#emorec-go")
    large = tmp_path / "large.mp4"
    large.write_bytes(os.urandom(400_000))
    drop(page, large)
    page.wait_for_selector("text=/exceed/i")
    assert not any(p for v in server.visits() for p in v.iterdir())
    # Nor where the browser's own check is passed by.
    answer = page.request.post(
        f"{server.url}gradio_api/upload",
        multipart={
            "files": {
                "name": "large.mp4",
                "mimeType": "video/mp4",
                "buffer": large.read_bytes(),
            }
        },
    )
    assert answer.status in (400, 413)
    kept = server.temporary.glob("emorec_ui_*/files/**/*")
    assert sum(p.stat().st_size for p in kept if p.is_file()) == 0


def test_a_name_is_shown_and_never_run(page, clip, tmp_path):
    name = "<img src=x onerror=document.title='run'>${1+1}{{1}}.mp4"
    page.set_input_files(
        "#emorec-upload input[type=file]",
        {
            "name": name,
            "mimeType": "video/mp4",
            "buffer": pathlib.Path(clip).read_bytes(),
        },
    )
    analyse(page)
    assert page.locator(".viewer h3 img").count() == 0
    assert page.title() == "emorec"
    assert "onerror" in page.inner_text(".viewer h3")


def test_the_servers_end_removes_everything(server):
    server.process.send_signal(signal.SIGTERM)
    out, err = server.process.communicate(timeout=20)
    assert (server.process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "stopped; all files of the page are removed"
    # ONNX Runtime writes an id of its own as it is loaded, before it can be
    # told to send nothing (`emorec.onnx_folder`).
    assert {p.name for p in server.temporary.iterdir()} <= {".ses"}
    asked = server.connections.read_text().splitlines()
    assert not [a for a in asked if "127.0.0.1" not in a]
