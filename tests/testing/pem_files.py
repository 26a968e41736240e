"""An authority, a server and a client of it, as PEM files."""

import dataclasses
import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


@dataclasses.dataclass(frozen=True)
class Pems:
    """Paths of PEM files; the server's certificate is of 127.0.0.1."""

    ca: pathlib.Path
    cert: pathlib.Path
    key: pathlib.Path
    client_cert: pathlib.Path
    client_key: pathlib.Path


def write(folder: pathlib.Path) -> Pems:
    """Writes the files into a folder."""
    ca, ca_key = _make("authority", None, None)
    paths = [folder / "ca.pem"]
    paths[0].write_bytes(ca.public_bytes(_PEM))
    for name in ("server", "client"):
        made, key = _make(name, ca, ca_key)
        paths += [folder / f"{name}.pem", folder / f"{name}.key"]
        paths[-2].write_bytes(made.public_bytes(_PEM))
        paths[-1].write_bytes(
            key.private_bytes(
                _PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return Pems(*paths)


def _make(name, signer, signers_key):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(signer is None, None), True)
        .add_extension(x509.SubjectAlternativeName([address]), False)
    )
    return builder.sign(signers_key or key, hashes.SHA256()), key
