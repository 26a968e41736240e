"""Starts the page's server and ends it, with all that it kept."""

import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterator

from emorec.errors import EmorecError
from emorec.ui import guard
from emorec.ui.analysis import Analyst
from emorec.ui.sessions import Store

LOOPBACK = guard.LOOPBACK
# Visitors that may wait; more are told to come back.
QUEUE = 32
# Gradio and the hub's client ask the internet for versions and send telemetry
# unless they are told not to.
_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    # A table of calls that no one looks at; Gradio makes it with a function
    # that the pandas of TFX (1.5) does not have.
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**12),
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_SHARE": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
}


@dataclasses.dataclass(frozen=True)
class Served:
    """A page that is served.

    Attributes:
        url: Its address.
        store: The visitors' files.
    """

    url: str
    store: Store


@contextlib.contextmanager
def serve(
    analyst: Analyst, *, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Served]:
    """Serves the page until the block is left.

    Sets variables of the environment meanwhile, as Gradio reads its settings
    there: one page a process.

    Args:
        analyst: Analyses the videos.
        host: The address to listen on.
        port: The port; 0 takes a free one.

    Raises:
        EmorecError: The port is taken, or the address is not this machine's.
    """
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(Store())
        settings = {**_QUIET, "GRADIO_TEMP_DIR": str(store.files)}
        stack.enter_context(_environment(settings))
        url = stack.enter_context(_launched(analyst, store, host, port))
        # Jobs first: an answer that nobody will see is not waited for.
        stack.callback(store.stop)
        yield Served(url, store)


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Sets variables of the environment, and puts them back."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _launched(analyst, store, host, port):
    # After the environment, which Gradio reads as it is imported, too.
    from starlette.middleware import Middleware

    from emorec.ui import page

    port = _port(host, port)
    blocks = page.build(analyst, store)
    blocks.queue(max_size=QUEUE)
    names = LOOPBACK if host in LOOPBACK else ()
    try:
        _, url, _ = blocks.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            inbrowser=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            footer_links=[],
            max_file_size=int(analyst.limits.megabytes * 1e6),
            theme=page.theme(),
            css=page.stylesheet(),
            app_kwargs={
                "middleware": [Middleware(guard.Guard, hosts=names)],
                "docs_url": None,
                "redoc_url": None,
                "openapi_url": None,
            },
        )
    except OSError as e:
        # Taken since it was looked at.
        raise EmorecError(
            f"{host}:{port}: cannot be listened on; choose another --port"
        ) from e
    try:
        yield url
    finally:
        blocks.close(verbose=False)


def _port(host: str, port: int) -> int:
    """Returns a port that can be listened on: the one given, or a free one.

    Raises:
        EmorecError: It cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Two may be bound with that option, and one may listen.
            probe.listen()
        except OSError as e:
            raise EmorecError(
                f"{host}:{port}: cannot be listened on ({e.strerror}); choose "
                "another --port or --host"
            ) from e
        return probe.getsockname()[1]
