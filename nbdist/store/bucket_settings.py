"""How a bucket is reached: endpoint, region and credentials, from where AWS's own tools have them, found by botocore.

That is the environment, the profile (`AWS_PROFILE`, else `default`) of `~/.aws/credentials` and `~/.aws/config` with all that a profile may
take its keys from (single sign-on, roles, a command), and the machine's own role. Nothing of a credential is kept in a store, a message
or a log.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from nbdist.errors import MissingExtraError, StoreError, how_to_get, scrubbed

DEFAULT_REGION = "us-east-1"
KEYS_KEPT = timedelta(minutes=10)
"""How long keys are used before they are looked for again."""


@dataclass(frozen=True)
class BucketSettings:
    """The server that requests of a bucket go to.

    Attributes
    ----------
    endpoint
        URL of the server; None for Amazon's own of the region.
    region
        Its region.
    """

    endpoint: str | None
    region: str

    @property
    def url(self) -> str:
        """URL of the server."""
        domain = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return self.endpoint or f"https://s3.{self.region}.{domain}"

    @property
    def server(self) -> str:
        """The server as it is named to people."""
        return scrubbed(self.endpoint) if self.endpoint else f"Amazon S3 ({self.region})"


def bucket_settings() -> BucketSettings:
    """Find endpoint and region.

    Raises
    ------
    StoreError
        If a profile is not there, or an endpoint is no URL or holds a password.
    """
    session = _session()
    # a client would tell, too, for 25 MB and half a second
    from botocore.configprovider import ConfiguredEndpointProvider

    endpoint = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), "s3").provide()
    # botocore does not go by these two, as others of AWS's tools and obstore do
    endpoint = endpoint or os.environ.get("AWS_ENDPOINT")
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or DEFAULT_REGION
    return BucketSettings(_checked(endpoint) if endpoint else None, region)


def credentials() -> dict[str, Any]:
    """The keys as they are now, as obstore takes them from a provider.

    obstore's own provider keeps those that it found first; a run of days outlives a session token, and somebody renews the file.

    Raises
    ------
    StoreError
        If there are none.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    session = _session()
    try:
        found = session.get_credentials()
        keys = found and found.get_frozen_credentials()
    except (BotoCoreError, ClientError, OSError, ValueError) as error:  # whose text may tell some
        raise StoreError(f"botocore finds no AWS credentials ({type(error).__name__})") from None
    if not keys:
        raise StoreError("no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    expires_at = datetime.now(UTC) + KEYS_KEPT
    return {
        "access_key_id": keys.access_key,
        "secret_access_key": keys.secret_key,
        "token": keys.token,
        "expires_at": expires_at,
    }


def _session() -> Any:
    """A session of botocore whose files were read.

    Raises
    ------
    StoreError
        If a file is none of AWS's, or has no such profile.
    MissingExtraError
        If botocore is not installed.
    """
    try:
        import botocore.session
        from botocore.exceptions import ConfigParseError, ProfileNotFound
    except ImportError:  # obstore alone was installed
        raise MissingExtraError(f"s3:// needs botocore: {how_to_get('s3')}") from None
    session = botocore.session.Session()
    try:
        session.get_scoped_config()
    except ProfileNotFound:
        name = os.environ.get("AWS_PROFILE")
        raise StoreError(
            f"AWS_PROFILE={name}: there is no such profile in ~/.aws/config or ~/.aws/credentials"
        ) from None
    except (ConfigParseError, OSError, UnicodeDecodeError) as error:
        path = getattr(error, "kwargs", {}).get("path", "~/.aws")
        raise StoreError(f"{path} cannot be read as a file of AWS profiles") from None  # its lines may hold secrets
    return session


def _checked(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise StoreError(f"endpoint {scrubbed(endpoint)}: expected http://HOST:PORT or https://HOST")
    if "@" in parts.netloc:
        raise StoreError(
            f"endpoint {scrubbed(endpoint)} holds a user or a password; "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are the place for them"
        )
    return endpoint.rstrip("/")
