"""What the page's server lets in, and what the browser may ask of others.

Gradio binds to one address; these are the doors that are open nevertheless.
A page of another site that is open in the same browser can send requests to a
loopback address, and by a name of its own that resolves to 127.0.0.1 it can
read the answers too. Gradio's file route fetches from the internet what it is
asked to.
"""

from collections.abc import Sequence

# Scripts and styles in the page itself are Gradio's way; nothing may come
# from, or go to, another host.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    # A later user of the same browser profile finds nothing in its cache.
    (b"cache-control", b"no-store"),
)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Guard:
    """ASGI middleware; refuses with 403.

    Args:
        app: The application.
        hosts: Names that the server may be asked under; empty takes any.
    """

    def __init__(self, app, hosts: Sequence[str] = ()):
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fault = self._fault(scope)
        if fault:
            await _refuse(send, fault)
            return

        async def guarded(message):
            if message["type"] == "http.response.start":
                names = {name for name, _ in _HEADERS}
                kept = [
                    (k, v)
                    for k, v in message.get("headers", ())
                    if k.lower() not in names
                ]
                message = {**message, "headers": [*kept, *_HEADERS]}
            await send(message)

        await self._app(scope, receive, guarded)

    def _fault(self, scope) -> str | None:
        headers = dict(scope["headers"])
        host = _name(headers.get(b"host", b"").decode("latin-1"))
        if self._hosts and host not in self._hosts:
            return "this page is served to its own machine alone"
        site = headers.get(b"sec-fetch-site", b"none")
        # A link on another page may lead here, and nothing else.
        link = headers.get(b"sec-fetch-mode") == b"navigate"
        link = link and scope["method"] == "GET"
        if site not in (b"same-origin", b"none") and not link:
            return "this page answers to itself alone"
        path = scope["path"]
        for word in ("file=", "proxy="):
            _, found, asked = path.partition(word)
            if found and ":/" in asked:
                return "nothing is fetched from other hosts"
        return None


def _name(host: str) -> str:
    """Returns the name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


async def _refuse(send, text: str):
    await send(
        {
            "type": "http.response.start",
            "status": 403,
            "headers": [(b"content-type", b"text/plain"), *_HEADERS],
        }
    )
    await send({"type": "http.response.body", "body": text.encode()})
