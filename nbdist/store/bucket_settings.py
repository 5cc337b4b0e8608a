"""How a bucket is reached: endpoint, region and credentials, from the environment or from the usual files of AWS's tools.

What is set in the environment comes first, then the profile (`AWS_PROFILE`, else `default`) of `~/.aws/credentials` and
`~/.aws/config`; a profile that takes its keys from elsewhere (single sign-on, roles, a command) is left to boto3. Where nothing is
set, the machine's own role is asked for. Nothing of a credential is kept in a store, a message or a log.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nbdist.errors import StoreError, scrubbed

DEFAULT_REGION = "us-east-1"
KEYS_KEPT = timedelta(minutes=10)
"""How long keys are used before they are read again."""
ELSEWHERE = (
    "sso_session",
    "sso_start_url",
    "role_arn",
    "credential_process",
    "web_identity_token_file",
    "login_session",
)


@dataclass(frozen=True)
class BucketSettings:
    """Where requests go and who makes them.

    Attributes
    ----------
    endpoint
        URL of the server; None for Amazon's own of the region.
    region
        Its region.
    keys
        (access key, secret key, session token or None), where they are known; not shown.
    profile
        A profile whose keys boto3 finds.
    """

    endpoint: str | None
    region: str
    keys: tuple[str, str, str | None] | None = field(default=None, repr=False)
    profile: str | None = None

    @property
    def url(self) -> str:
        """URL of the server."""
        domain = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return self.endpoint or f"https://s3.{self.region}.{domain}"

    @property
    def server(self) -> str:
        """The server as it is named to people."""
        return scrubbed(self.endpoint) if self.endpoint else f"Amazon S3 ({self.region})"


def bucket_settings(environment: Mapping[str, str] = os.environ) -> BucketSettings:
    """Read endpoint, region and credentials.

    Raises
    ------
    StoreError
        If a profile is not there, or an endpoint is no URL or holds a password.
    """
    profile = _profile(environment)
    endpoint = (
        environment.get("AWS_ENDPOINT_URL_S3")
        or environment.get("AWS_ENDPOINT_URL")
        or environment.get("AWS_ENDPOINT")
        or profile.get("s3.endpoint_url")
        or profile.get("endpoint_url")
    )
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or profile.get("region")
    keys, needs_boto3 = _keys(environment, profile)
    return BucketSettings(
        endpoint=_checked(endpoint) if endpoint else None,
        region=region or DEFAULT_REGION,
        keys=keys,
        profile=_profile_name(environment) if needs_boto3 else None,
    )


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


def _keys(
    environment: Mapping[str, str], profile: Mapping[str, str]
) -> tuple[tuple[str, str, str | None] | None, bool]:
    """The keys, where they are plainly given, and whether boto3 has to find them."""
    if environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        token = environment.get("AWS_SESSION_TOKEN") or None
        return (environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], token), False
    if profile.get("aws_access_key_id") and profile.get("aws_secret_access_key"):
        token = profile.get("aws_session_token") or None
        return (profile["aws_access_key_id"], profile["aws_secret_access_key"], token), False
    return None, any(name in profile for name in ELSEWHERE)


def _profile_name(environment: Mapping[str, str]) -> str:
    return environment.get("AWS_PROFILE") or "default"


def _profile(environment: Mapping[str, str]) -> dict[str, str]:
    """The fields of the profile in both files, those of the credentials file first."""
    home = Path(environment.get("HOME") or "~").expanduser()
    name = _profile_name(environment)
    config = _sections(Path(environment.get("AWS_CONFIG_FILE") or home / ".aws" / "config"))
    credentials = _sections(Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials"))
    section = config.get(name if name == "default" else f"profile {name}")
    found = {**(section or {}), **credentials.get(name, {})}
    if not found and environment.get("AWS_PROFILE"):
        raise StoreError(f"AWS_PROFILE={name}: there is no such profile in ~/.aws/config or ~/.aws/credentials")
    services = config.get(f"services {found['services']}", {}) if "services" in found else {}
    for source in (found, services):
        nested = re.search(r"^\s*endpoint_url\s*=\s*(\S+)", source.get("s3", ""), re.MULTILINE)
        if nested:
            found["s3.endpoint_url"] = nested[1]
    return found


def _sections(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        with path.expanduser().open(encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error):
        raise StoreError(f"{path} cannot be read as a file of AWS profiles") from None  # its lines may hold secrets
    return {name: dict(parser.items(name)) for name in parser.sections()}


def provider(settings: BucketSettings) -> Any:
    """A callable that gives obstore its keys, or None where the machine's role is to be asked.

    Raises
    ------
    StoreError
        If boto3 is needed and missing, or finds none.
    """
    if settings.keys is not None:
        return _fresh_keys
    if settings.profile is None:
        return None
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise StoreError(
            f"AWS profile {settings.profile} takes its keys from elsewhere, which needs boto3: pip install boto3"
        ) from None
    try:
        return Boto3CredentialProvider(boto3.Session(profile_name=settings.profile))
    except Exception as error:
        raise StoreError(
            f"AWS profile {settings.profile}: boto3 finds no credentials ({type(error).__name__})"
        ) from None


def _fresh_keys() -> dict[str, Any]:
    """The keys as they are now: a run of days outlives a session token, and somebody renews the file."""
    keys = bucket_settings().keys
    if keys is None:
        raise StoreError("the AWS credentials that this run began with are gone")
    access, secret, token = keys
    expires_at = datetime.now(UTC) + KEYS_KEPT
    return {"access_key_id": access, "secret_access_key": secret, "token": token, "expires_at": expires_at}
