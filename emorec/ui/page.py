"""The page: what is on it, and what its buttons do."""

import html
import pathlib

import gradio as gr

from emorec.errors import EmorecError
from emorec.ui import view
from emorec.ui.analysis import Analyst, Options
from emorec.ui.jobs import Job, Outcome
from emorec.ui.sessions import Store

_STATIC = pathlib.Path(__file__).parent / "static"
# What browsers and systems do not know to be a video.
_TYPES = ["video", ".mkv", ".avi", ".mov", ".mpg", ".ts", ".flv", ".wmv"]
# Seconds of a window; a new one begins every half of it.
_WINDOWS = {
    "every 2 seconds (windows of 4 s)": 4.0,
    "every second (windows of 2 s)": 2.0,
    "every half second (windows of 1 s)": 1.0,
}
_PEOPLE = {"everybody": "all", "the main person": "main"}
_POLL_S = 0.15
_PRIVACY = (
    "The video stays on the computer that runs this page. It, and all that is "
    "made of it, is removed when you close or reload the page. An answer is "
    "the model's, about how a clip looks; it is not a fact about what a "
    "person feels."
)
# Nobody but the page itself calls these.
_PRIVATE = {"api_visibility": "private"}


def stylesheet() -> str:
    """Returns the page's CSS."""
    return "\n".join(
        (_STATIC / name).read_text(encoding="utf-8")
        for name in ("page.css", "viewer.css")
    )


def theme():
    """Returns a theme of the system's own fonts: none is fetched."""
    return gr.themes.Default(
        primary_hue="blue",
        font=["system-ui", "DejaVu Sans", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def build(analyst: Analyst, store: Store) -> gr.Blocks:
    """Returns the page, which has not been launched.

    Args:
        analyst: Analyses the videos.
        store: Keeps the visitors' files.
    """
    return _Page(analyst, store).blocks


class _Page:
    def __init__(self, analyst: Analyst, store: Store):
        self._analyst = analyst
        self._store = store
        config = analyst.backend.config
        length = config.clip.clip_frames / config.video.fps
        own = f"in the model's own windows ({length:g} s each)"
        self._windows = {own: None, **_WINDOWS}
        with gr.Blocks(title="emorec", analytics_enabled=False) as self.blocks:
            self._lay_out()
            self._connect()

    def _lay_out(self):
        limits = self._analyst.limits
        gr.Markdown("# Emotions in a video")
        gr.HTML(
            _notes(self._analyst.backend.description), elem_id="emorec-notes"
        )
        with gr.Row():
            with gr.Column(scale=3):
                self.upload = gr.File(
                    label=f"A video of at most {limits.megabytes:g} MB and "
                    f"{_length(limits.seconds)}",
                    file_types=_TYPES,
                    height=268,
                    elem_id="emorec-upload",
                )
            with gr.Column(scale=2):
                self.people = gr.Radio(
                    list(_PEOPLE), value="everybody", label="Who"
                )
                self.window = gr.Dropdown(
                    list(self._windows),
                    value=next(iter(self._windows)),
                    label="How often to answer",
                    elem_id="emorec-window",
                )
                self.blur = gr.Checkbox(
                    label="Hide faces in all that is shown",
                    elem_id="emorec-blur",
                )
                self.bare = gr.Checkbox(
                    label="No pictures in the attention map and the report",
                    elem_id="emorec-bare",
                )
        with gr.Row():
            self.go = gr.Button(
                "Analyse",
                variant="primary",
                interactive=False,
                elem_id="emorec-go",
            )
            self.stop = gr.Button("Stop", visible=False, elem_id="emorec-stop")
            self.clear = gr.Button(
                "Remove my files", interactive=False, elem_id="emorec-clear"
            )
        self.status = gr.HTML("", elem_id="emorec-status")
        with gr.Row(visible=False, elem_id="emorec-files") as self.files:
            self.downloads = [
                gr.DownloadButton(label, size="md", elem_id=f"emorec-{name}")
                for name, label in (
                    ("csv", "Answers (CSV)"),
                    ("frames_csv", "Every frame (CSV)"),
                    ("report", "Report (HTML)"),
                    ("video", "Annotated video (MP4)"),
                )
            ]
        self.viewer = gr.HTML(
            None,
            html_template='<div class="viewer"></div>',
            js_on_load=(_STATIC / "viewer.js").read_text(encoding="utf-8"),
            elem_id="emorec-viewer",
        )
        gr.Markdown(_PRIVACY)

    def _connect(self):
        results = [self.status, self.viewer, self.files, *self.downloads]
        buttons = [self.go, self.stop, self.clear]
        quiet = {**_PRIVATE, "show_progress": "hidden"}
        self.upload.upload(
            self._uploaded,
            self.upload,
            [self.upload, *buttons, *results],
            **quiet,
        )
        self.upload.clear(
            self._cleared, None, [self.upload, *buttons, *results], **quiet
        )
        self.clear.click(
            self._cleared, None, [self.upload, *buttons, *results], **quiet
        )
        self.go.click(
            self._analyse,
            [self.upload, self.people, self.window, self.blur, self.bare],
            [*buttons, *results],
            # The job itself waits for its turn; a visitor sees that it does.
            concurrency_limit=16,
            **quiet,
        )
        self.stop.click(self._stopped, None, None, queue=False, **quiet)
        self.blocks.unload(self._left)

    def _session(self, request: gr.Request):
        return self._store.session(request.session_hash)

    def _uploaded(self, path: str, request: gr.Request):
        """Takes a file into the visit, and says at once if it cannot be."""
        try:
            kept = self._session(request).adopt(path)
        except EmorecError as e:
            return [None, *_buttons("empty"), *_nothing(_fault(str(e)))]
        try:
            info = self._analyst.check(kept)
        except EmorecError as e:
            self._session(request).clear()
            return [None, *_buttons("empty"), *_nothing(_fault(str(e)))]
        length = f", {info.duration:.1f} s" if info.duration else ""
        told = f"{info.width} x {info.height} pixels{length}: ready to analyse."
        return [
            str(kept),
            *_buttons("ready"),
            *_nothing(f"<p>{html.escape(told)}</p>"),
        ]

    def _cleared(self, request: gr.Request):
        self._session(request).clear()
        return [None, *_buttons("empty"), *_nothing("")]

    def _stopped(self, request: gr.Request):
        self._session(request).stop()

    def _left(self, request: gr.Request):
        self._store.end(request.session_hash)

    def _analyse(self, path, people, window, blur, bare, request: gr.Request):
        """Yields how far it is, and in the end the answer."""
        session = self._session(request)
        if not path or pathlib.Path(path).parent != session.folder:
            yield [*_buttons("empty"), *_nothing(_fault("Drop a video first."))]
            return
        session.stop()
        job = self._analyst.job(
            pathlib.Path(path),
            session.workplace(),
            Options(
                people=_PEOPLE[people],
                blur=bool(blur),
                pictures=not bare,
                window=self._windows[window],
            ),
        )
        if not session.start(job):
            return
        try:
            yield [*_buttons("busy"), *_nothing(_progress(job))]
            while not job.wait(_POLL_S):
                yield [*_unchanged(3), _progress(job), *_unchanged(6)]
        finally:
            # Also where the visitor leaves: Gradio then closes this.
            job.stop()
        # "Remove my files" stops a job as well.
        state = _buttons("ready" if pathlib.Path(path).is_file() else "empty")
        outcome = job.outcome
        if outcome is None:
            yield [*state, *_nothing("<p>Stopped.</p>")]
        elif outcome.error:
            yield [*state, *_nothing(_fault(outcome.error))]
        else:
            yield [*state, *_answer(outcome)]


def _unchanged(count: int) -> list:
    return [gr.skip()] * count


def _buttons(state: str) -> list:
    """Returns the updates of analyse, stop and remove."""
    return [
        gr.update(interactive=state == "ready"),
        gr.update(visible=state == "busy"),
        gr.update(interactive=state != "empty"),
    ]


def _nothing(status: str) -> list:
    """Returns the updates of the results where there are none."""
    return [status, None, gr.update(visible=False), None, None, None, None]


def _answer(outcome: Outcome) -> list:
    files = (outcome.csv, outcome.frames_csv, outcome.report, outcome.video)
    return [
        "",
        outcome.view,
        gr.update(visible=True),
        *(str(path) if path else None for path in files),
    ]


def _progress(job: Job) -> str:
    left = job.left
    ends = f", about {left:.0f} s left" if left is not None else ""
    text = html.escape(f"{job.stage}: {100 * job.share:.0f} %{ends}")
    return (
        '<div class="progress-line" role="status">'
        f'{text}<div class="track"><i style="width:{100 * job.share:.1f}%">'
        "</i></div></div>"
    )


def _fault(text: str) -> str:
    return f'<div class="message fault" role="alert">{html.escape(text)}</div>'


def _notes(description: dict) -> str:
    return "".join(
        f'<div class="message note">{html.escape(note)}</div>'
        for note in view.notes(description)
    )


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} seconds"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:g} minutes" + (f" {rest:g} seconds" if rest else "")
