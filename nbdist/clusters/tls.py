"""TLS between client, scheduler and workers: one certificate authority, one certificate and key for all three.

Whoever can connect to a Dask scheduler or worker can run code as its owner, and a loopback interface is open to everybody who may log in.
So whatever nbdist starts asks for a certificate: the user's own (`--security`), or one that is made for the run, is its own authority
and is forgotten with it. Its key travels to local workers through the pipe that starts them; jobs of a queue read it from a private
folder, and know its path only.
"""

from __future__ import annotations

import contextlib
import datetime
import shutil
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nbdist.errors import RunError
from nbdist.formats.text import user_path
from nbdist.private_folder import UnsafeFolderError, private_folder

if TYPE_CHECKING:
    from distributed import Security

LONGEST_RUN = datetime.timedelta(days=365)
CLOCKS_DIFFER = datetime.timedelta(days=1)
"""A certificate holds from so long before it is made: the clock of a node may be late."""


def read_security(text: str) -> Security:
    """Read `ca,cert,key`, three PEM files; the cluster then talks in TLS only, and to holders of a certificate of that authority only.

    Raises
    ------
    RunError
        If it is not three files, or they do not belong together.
    """
    names = [name.strip() for name in text.split(",")]
    if len(names) != 3 or not all(names):
        raise RunError(f"--security {text}: expected three PEM files: CA,CERT,KEY")
    paths = [user_path(name).absolute() for name in names]
    for path in paths:
        try:
            path.read_bytes()
        except OSError as error:
            raise RunError(f"--security: {path} cannot be read: {error.strerror}") from None
    ca, cert, key = map(str, paths)
    try:
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise RunError(
            f"--security {text}: these are not a certificate authority, a certificate and its key: {reason}"
        ) from None
    return _security(ca, cert, key)


def temporary_security() -> Security:
    """A certificate and key of this run alone, which exist in the memory of its processes only."""
    cert, key = _certificate_and_key()
    return _security(cert, cert, key)


def certificate_in_folder(parents: Sequence[Path]) -> tuple[Path, Path]:
    """Write a certificate that is its own authority and its key into files that other machines read and other users cannot.

    Parameters
    ----------
    parents
        Folders to keep them in, in which a folder of mode 0700 is made; the first that is safe serves.

    Returns
    -------
    The paths of the certificate and of the key, alone in a folder of their own.

    Raises
    ------
    RunError
        If no folder is safe: somebody else could put another certificate there.
    """
    refused = []
    for parent in parents:
        try:
            folder = Path(tempfile.mkdtemp(prefix=".tls-", dir=private_folder(parent)))
            break
        except (UnsafeFolderError, OSError) as error:
            refused.append(str(error))
    else:
        raise RunError(f"no folder for the certificates of jobs: {'; '.join(refused)}. Or give them with --security")
    paths = folder / "cert.pem", folder / "key.pem"
    for path, content in zip(paths, _certificate_and_key(), strict=True):
        path.touch(mode=0o600)
        path.write_text(content, encoding="ascii")
    return paths


@contextlib.contextmanager
def security_in_folder(parents: Sequence[Path]) -> Iterator[Security]:
    """A certificate and key of this run alone in files, see `certificate_in_folder`; they are removed at the end.

    Raises
    ------
    RunError
        If no folder is safe.
    """
    cert, key = certificate_in_folder(parents)
    try:
        yield _security(str(cert), str(cert), str(key))
    finally:
        shutil.rmtree(cert.parent, ignore_errors=True)


def _security(ca: str, cert: str, key: str) -> Security:
    """Those three, PEM texts or paths, for all roles."""
    from distributed import Security

    roles = {
        f"tls_{role}_{what}": value
        for role in ("client", "scheduler", "worker")
        for what, value in (("cert", cert), ("key", key))
    }
    return Security(tls_ca_file=ca, require_encryption=True, **roles)


def _certificate_and_key() -> tuple[str, str]:
    """A certificate that is its own authority and its key, as PEM text. Dask's own `Security.temporary` takes RSA, ten times slower."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nbdist")])
    now = datetime.datetime.now(datetime.UTC)
    uses = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + LONGEST_RUN)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, encipher_only=False, decipher_only=False, **uses),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    return certificate.public_bytes(pem).decode("ascii"), secret.decode("ascii")


def _no_password() -> str:
    raise ValueError("the key is protected by a password, which a worker has nobody to ask for")
