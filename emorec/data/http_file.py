"""Files by http:// and https://, read as they come."""

import base64
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException

from emorec.errors import VideoError
from emorec.video.container import reason, shown

_WAIT_S = 30.0
_CHUNK_BYTES = 1 << 20


def content(
    url: str, secret: tuple[str, str] | None = None
) -> tuple[int | None, Iterator[bytes]]:
    """Asks for a file.

    Args:
        url: Its address, without a user and password.
        secret: User and password, for this server and not for one that it
            leads to.

    Returns:
        The bytes that the server states, or None; and the file in parts,
        whose iterator closes the connection. It may end too early.

    Raises:
        VideoError: It cannot be had; so does the iterator.
    """
    name = shown(url)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "emorec"})
        if secret is not None:
            coded = base64.b64encode(":".join(secret).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {coded}")
        answer = _opener().open(request, timeout=_WAIT_S)
    except urllib.error.HTTPError as e:
        with e:
            raise VideoError(
                f"{name}: the server answered {e.code} "
                f"{' '.join(str(e.reason).split())}; check the address"
            ) from e
    except (OSError, ValueError, HTTPException) as e:
        raise VideoError(
            f"{name}: cannot be fetched ({_why(e)}); check the address and "
            "the network"
        ) from e
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None, _parts(answer, name)


def _parts(answer, name: str) -> Iterator[bytes]:
    with answer:
        while True:
            try:
                data = answer.read(_CHUNK_BYTES)
            except (OSError, HTTPException) as e:
                raise VideoError(
                    f"{name}: broke off ({_why(e)}); try again"
                ) from e
            if not data:
                return
            yield data


def _opener() -> urllib.request.OpenerDirector:
    """An opener of http:// and https:// alone, where redirects lead too."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        made.add_handler(handler())
    return made


def _why(error: BaseException) -> str:
    cause = getattr(error, "reason", error)
    return reason(cause if isinstance(cause, BaseException) else error)
