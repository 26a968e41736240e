"""Makes the pictures of docs/images out of the generated sample set.

  python docs/hooks/screenshots.py --clips=clips --onnx=onnx

CLIPS is a folder of `emorec sample` and ONNX a model that was trained on it,
as in the tutorial. Nobody's video is shown: three clips of one generated
person are joined. Needs chromium, playwright and Pillow.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import av
from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = pathlib.Path(__file__).resolve().parents[1] / "images"
PERSON, LABELS = "person10", ("sad", "surprise", "neutral")
WIDTH = 1200
# Seconds into the video that are shown.
MOMENT = 3.1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=pathlib.Path, required=True)
    parser.add_argument("--onnx", type=pathlib.Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        video = folder / "tour.mp4"
        _join(given.clips / "videos", video)
        # Named without a folder: the report shows what was asked for.
        _emorec(
            "predict",
            video.name,
            f"--onnx={given.onnx.resolve()}",
            "--every=1,0.5",
            *("--output=o.csv", "--report=r.html", "--annotate=a.mp4"),
            cwd=folder,
        )
        _frame(folder / "a.mp4", "annotated")
        with sync_playwright() as started:
            browser = started.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            _report(browser, folder / "r.html", folder)
            _page(browser, video, given.onnx, folder)
            browser.close()


def _join(videos: pathlib.Path, target: pathlib.Path):
    """Puts the person's clips one after the other."""
    with av.open(str(target), "w") as made:
        stream, count = None, 0
        for label in LABELS:
            with av.open(str(videos / f"{PERSON}_{label}_0.mp4")) as clip:
                for frame in clip.decode(video=0):
                    if stream is None:
                        rate = clip.streams.video[0].average_rate
                        stream = made.add_stream("libx264", rate=rate)
                        stream.width, stream.height = frame.width, frame.height
                        stream.options = {"crf": "16"}
                    pixels = frame.to_ndarray(format="rgb24")
                    new = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                    new.pts, count = count, count + 1
                    made.mux(stream.encode(new))
        made.mux(stream.encode())


def _emorec(*args, cwd):
    subprocess.run([sys.executable, "-m", "emorec", *args], cwd=cwd, check=True)


def _frame(video: pathlib.Path, name: str):
    with av.open(str(video)) as opened:
        for frame in opened.decode(video=0):
            if frame.time >= MOMENT:
                _write(frame.to_image(), name)
                return


def _report(browser, report: pathlib.Path, folder: pathlib.Path):
    page = browser.new_page(viewport={"width": WIDTH, "height": 900})
    page.goto(report.as_uri())
    page.wait_for_timeout(500)
    page.screenshot(path=folder / "report.png", full_page=True)
    page.close()
    with Image.open(folder / "report.png") as whole:
        # Summary, timeline, and one window with its map: the rest repeats.
        _write(whole.crop((0, 0, WIDTH, 1290)), "report")
        _write(whole.crop((0, 1300, WIDTH, 2130)), "attention")


def _page(browser, video, onnx, folder):
    server = subprocess.Popen(
        [sys.executable, "-c", _UI, f"--onnx={onnx}", "--port=0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = None
        while url is None:
            url = re.match(r"http://\S+", server.stdout.readline())
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(url.group())
        page.wait_for_selector("#emorec-go")
        page.set_input_files("#emorec-upload input[type=file]", video)
        page.click("#emorec-window input")
        page.get_by_role("option").last.click()  # The shortest windows.
        page.click("#emorec-go:not([disabled])")
        page.wait_for_selector("#emorec-viewer .viewer h3")
        page.evaluate(
            "t => { document.querySelector('video').currentTime = t }", MOMENT
        )
        page.wait_for_timeout(1500)
        page.screenshot(path=folder / "page.png", full_page=True)
        with Image.open(folder / "page.png") as whole:
            _write(whole.copy(), "page")
    finally:
        server.terminate()
        server.wait(30)


_UI = "import sys; from emorec.cli import app; app.run('ui', sys.argv[1:])"


def _write(picture: Image.Image, name: str):
    path = IMAGES / f"{name}.webp"
    picture.convert("RGB").save(path, quality=80, method=6)
    print(path, picture.size, path.stat().st_size)


if __name__ == "__main__":
    main()
