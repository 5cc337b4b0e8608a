"""TLS between client, scheduler and workers: one certificate authority, one certificate and key for all three."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from nbdist.errors import RunError

if TYPE_CHECKING:
    from distributed import Security


def read_security(text: str) -> Security:
    """Read `ca,cert,key`, three PEM files; the cluster then talks in TLS only, and to holders of a certificate of that authority only.

    Raises
    ------
    RunError
        If it is not three files, or they do not belong together.
    """
    from distributed import Security

    names = [name.strip() for name in text.split(",")]
    if len(names) != 3 or not all(names):
        raise RunError(f"--security {text}: expected three PEM files: CA,CERT,KEY")
    paths = [Path(name).expanduser().absolute() for name in names]
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
    roles = {
        f"tls_{role}_{what}": path
        for role in ("client", "scheduler", "worker")
        for what, path in (("cert", cert), ("key", key))
    }
    return Security(tls_ca_file=ca, require_encryption=True, **roles)


def _no_password() -> str:
    raise ValueError("the key is protected by a password, which a worker has nobody to ask for")
