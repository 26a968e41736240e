"""PEM texts for ssl.config."""

import dataclasses
import ssl
import tempfile

from emorec.errors import UsageError
from serving.configs import schemas


@dataclasses.dataclass(frozen=True)
class Tls:
    """PEM texts of ssl.config.

    Attributes:
        key: The server's private key, not encrypted.
        cert: Its certificate, and those between it and its authority.
        ca: Certificates of the authority of the clients; "" for the system's.
        client_verify: Whether clients need a certificate.
    """

    key: str = dataclasses.field(repr=False)
    cert: str = dataclasses.field(repr=False)
    ca: str = dataclasses.field(default="", repr=False)
    client_verify: bool = False


def read(key: str, cert: str, ca: str, client_verify: bool) -> Tls:
    """Reads PEM files and checks that they belong together.

    Args:
        key: Path of the private key.
        cert: Path of the certificate.
        ca: Path of the clients' authority, or "".
        client_verify: Whether clients need a certificate.

    Raises:
        UsageError: A file cannot be read, is no PEM, or they do not fit.
    """
    if client_verify and not ca:
        raise UsageError(
            "`--client_verify` needs --tls_ca, the authority that the "
            "clients' certificates are from"
        )
    tls = Tls(
        schemas.read_text(key),
        schemas.read_text(cert),
        schemas.read_text(ca) if ca else "",
        client_verify,
    )
    found = fault(tls.key, tls.cert, tls.ca)
    if found:
        raise UsageError(f"--tls_key and --tls_cert: {found}")
    return tls


def fault(key: str, cert: str, ca: str) -> str:
    """Returns what is wrong with PEM texts, or ""."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The standard library reads a pair from files alone. They are this
    # user's only, and gone at the end of the block.
    with tempfile.NamedTemporaryFile("w") as both:
        both.write(f"{key}\n{cert}\n")
        both.flush()
        try:
            # Without `password`, an encrypted key asks at the terminal.
            context.load_cert_chain(both.name, password=lambda: "")
        except (OSError, ValueError) as e:
            return (
                "are not a private key (not encrypted) and its certificate, "
                f"both PEM ({_reason(e)})"
            )
    if ca:
        try:
            context.load_verify_locations(cadata=ca)
        except (OSError, ValueError) as e:
            return f"the authority is no certificate in PEM ({_reason(e)})"
    return ""


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
