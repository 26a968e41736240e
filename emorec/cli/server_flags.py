"""Flags of the commands that ask a model server: TLS and tokens."""

import pathlib

from absl import flags

from emorec.errors import UsageError

# Longest token file that is read, bytes.
_MAX_TOKEN = 64 << 10


def define(values: flags.FlagValues) -> dict[str, flags.FlagHolder]:
    """Returns the flags by name; see `security`."""
    texts = {
        "tls_ca": "Speak TLS with the server, and trust the authorities in "
        "this PEM file.",
        "tls_cert": "This client's certificate, PEM, for a server that asks "
        "for one.",
        "tls_key": "The private key of --tls_cert, PEM.",
        "token_file": "Send the token in this file with each request "
        "(authorization: Bearer); needs --tls_ca unless the server is on this "
        "machine.",
    }
    return {
        name: flags.DEFINE_string(name, None, text, flag_values=values)
        for name, text in texts.items()
    }


def security(holders: dict[str, flags.FlagHolder]) -> dict:
    """Returns the arguments `tls` and `token` of a client.

    Raises:
        UsageError: A file cannot be read, or a flag lacks another.
    """
    from serving.client.connection import Tls

    ca, cert, key, token = (
        holders[name].value
        for name in ("tls_ca", "tls_cert", "tls_key", "token_file")
    )
    # "" is an error of the reader's, never a call in the clear.
    if ca is None and (cert is not None or key is not None):
        raise UsageError("`--tls_cert` and `--tls_key` need `--tls_ca`")
    return {
        "tls": None if ca is None else Tls.from_files(ca, cert, key),
        "token": None if token is None else _token(token),
    }


def _token(path: str) -> str:
    try:
        with pathlib.Path(path).open(encoding="ascii") as file:
            token = file.read(_MAX_TOKEN).strip()
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not ASCII"
        raise UsageError(
            f"{path}: cannot be read ({reason}); give a file that holds a "
            "token alone"
        ) from e
    if not token:
        raise UsageError(f"{path}: is empty; give a file that holds a token")
    return token
