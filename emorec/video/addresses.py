"""Cameras and streams by how they are written, and what they may open.

A source is live by its name, and by nothing that a file holds: a camera's
number (`0`), an address whose scheme is a live one (`rtsp://`, `udp://`, ...),
or `live:` before the address of an HTTP stream. Only the protocols that its
scheme needs are opened, never a local file: a playlist is the sender's word.
"""

import dataclasses
import os
import re
import urllib.parse

from emorec.errors import UsageError
from emorec.video.container import shown

LIVE = "live:"
_HTTP = ("hls,mpegts,mov,mpjpeg,mjpeg,flv,matroska,webm,ogg,nut", "http,tcp")
_RAW = "mpegts,mpjpeg,mjpeg,h264,hevc,flv,matroska,webm,nut"
_TLS = "tls,crypto"
# Scheme -> the demuxers and the protocols of its streams.
_SCHEMES = {
    "http": _HTTP,
    "https": (_HTTP[0], f"https,{_HTTP[1]},{_TLS}"),
    "rtsp": (f"rtsp,sdp,rtp,{_RAW}", "rtsp,rtp,udp,tcp"),
    "rtsps": (f"rtsp,sdp,rtp,{_RAW}", f"rtsp,rtsps,rtp,srtp,udp,tcp,{_TLS}"),
    "rtmp": ("flv", "rtmp,tcp"),
    "rtmps": ("flv", f"rtmps,tcp,{_TLS}"),
    "rtp": (f"rtp,sdp,{_RAW}", "rtp,udp"),
    "srt": (_RAW, "srt"),
    "tcp": (_RAW, "tcp"),
    "udp": (_RAW, "udp"),
}
_CAMERA = re.compile(r"\d{1,2}")


def is_camera(source: str) -> bool:
    """Whether it is a camera's number; a file of that name comes first."""
    return bool(_CAMERA.fullmatch(source)) and not os.path.lexists(source)


def is_live(source: str) -> bool:
    """Whether a source is a camera or a stream, by how it is written."""
    if is_camera(source) or source.startswith(LIVE):
        return True
    scheme, found, _ = source.partition("://")
    return bool(found) and scheme in _SCHEMES and not scheme.startswith("http")


@dataclasses.dataclass(frozen=True)
class Address:
    """What libav is to open, and what it may open for it."""

    file: str
    format: str | None
    options: dict[str, str]

    @classmethod
    def of(cls, source: str) -> "Address":
        if is_camera(source):
            return cls(f"/dev/video{int(source)}", "v4l2", {})
        address = source.removeprefix(LIVE)
        scheme, found, _ = address.partition("://")
        if not found or scheme not in _SCHEMES:
            raise UsageError(
                f"a live source must be a camera's number, or an address of "
                f"{', '.join(_SCHEMES)}. Received: {shown(source)}"
            )
        demuxers, protocols = _SCHEMES[scheme]
        options = {
            "format_whitelist": demuxers,
            "protocol_whitelist": protocols,
            "max_streams": "256",
        }
        if scheme.startswith("rtsp"):
            # Over UDP a firewall on the way would show as silence.
            options["rtsp_transport"] = "tcp"
        return cls(address, None, options)


def without_secrets(source: str) -> str:
    """Returns an address without the user and password that it may hold."""
    prefix = LIVE if source.startswith(LIVE) else ""
    scheme, found, rest = source.removeprefix(LIVE).partition("://")
    host, slash, path = rest.partition("/")
    if not found or "@" not in host:
        return source
    return f"{prefix}{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def credentials(url: str) -> tuple[str, str] | None:
    """Returns the user and password that an address holds, or None."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return None  # Who opens it says what is wrong with it.
    if parts.username is None:
        return None
    return (
        urllib.parse.unquote(parts.username),
        urllib.parse.unquote(parts.password or ""),
    )
