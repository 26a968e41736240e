"""What the page's server lets in and out."""

import asyncio

import pytest

from emorec.ui import guard


def ask(path="/", hosts=guard.LOOPBACK, method="GET", **headers):
    """Sends one request through the guard; returns (status, headers)."""
    sent = []

    async def page(scope, receive, send):
        old = [(b"Cache-Control", b"max-age=9"), (b"x-own", b"1")]
        await send(
            {"type": "http.response.start", "status": 200, "headers": old}
        )
        await send({"type": "http.response.body", "body": b"page"})

    async def send(message):
        sent.append(message)

    headers = {"host": "127.0.0.1:7860", **headers}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [
            (k.replace("_", "-").encode(), v.encode())
            for k, v in headers.items()
        ],
    }
    asyncio.run(guard.Guard(page, hosts)(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "[::1]:80"])
def test_the_machine_itself_is_let_in(host):
    status, headers = ask(host=host)
    assert status == 200
    assert headers[b"x-own"] == b"1"
    assert headers[b"cache-control"] == b"no-store"
    assert b"Cache-Control" not in headers


def test_a_name_that_was_pointed_at_loopback_is_refused():
    assert ask(host="evil.example:7860")[0] == 403
    assert ask(host="evil.example:7860", hosts=())[0] == 200


def test_pages_of_other_sites_get_nothing():
    cross = {"sec_fetch_site": "cross-site"}
    assert ask("/upload", method="POST", sec_fetch_mode="cors", **cross)[0] == (
        403
    )
    assert ask(sec_fetch_mode="no-cors", **cross)[0] == 403
    # A form of theirs is a navigation too.
    form = ask("/upload", method="POST", sec_fetch_mode="navigate", **cross)
    assert form[0] == 403
    assert ask(sec_fetch_mode="navigate", **cross)[0] == 200
    assert ask("/upload", method="POST", sec_fetch_site="same-origin")[0] == 200


@pytest.mark.parametrize(
    "path, status",
    [
        ("/gradio_api/file=https://example.org/a.png", 403),
        ("/gradio_api/file=http:/example.org/a.png", 403),
        ("/gradio_api/proxy=https://example.hf.space/a", 403),
        ("/gradio_api/file=/tmp/emorec_ui_x/files/a/b.mp4", 200),
    ],
)
def test_the_server_fetches_nothing_from_other_hosts(path, status):
    assert ask(path)[0] == status


def test_the_browser_is_told_to_ask_no_other_host():
    policy = ask()[1][b"content-security-policy"].decode()
    assert "default-src 'self'" in policy and "http" not in policy
    refused = ask(host="evil.example")[1]
    assert refused[b"content-security-policy"].decode() == policy
