"""Endpoint, region and credentials from the environment and from the files of AWS's tools."""

from __future__ import annotations

import os
import sys

import pytest

from nbdist.errors import MissingExtraError, StoreError, scrubbed
from nbdist.store.bucket_settings import bucket_settings, credentials

pytest.importorskip("botocore")
PLAIN = "[default]\naws_access_key_id = A\naws_secret_access_key = B\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own in an environment that says nothing of AWS; `home(config=..., credentials=...)` writes its files."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def write(**files):
        (tmp_path / ".aws").mkdir(exist_ok=True)
        for name, text in files.items():
            (tmp_path / ".aws" / name).write_text(text)

    return write


def _keys():
    found = credentials()
    return found["access_key_id"], found["secret_access_key"], found["token"]


def test_without_anything_it_is_amazon_and_no_credentials_are_found(home):
    settings = bucket_settings()
    assert (settings.endpoint, settings.region) == (None, "us-east-1")
    assert settings.url == "https://s3.us-east-1.amazonaws.com"
    assert settings.server == "Amazon S3 (us-east-1)"
    with pytest.raises(StoreError, match="no credentials were found"):
        credentials()


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({"AWS_ENDPOINT_URL": "http://a:1/"}, "http://a:1"),
        ({"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_S3": "http://b:2"}, "http://b:2"),
        ({"AWS_ENDPOINT_URL": ""}, None),
    ],
)
def test_the_endpoint_of_s3_comes_before_the_one_of_all_services(given, endpoint, home, monkeypatch):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert bucket_settings().endpoint == endpoint


def test_the_region_is_that_of_the_environment_or_of_the_profile(home, monkeypatch):
    home(config="[default]\nregion = eu-west-3\n")
    assert bucket_settings().region == "eu-west-3"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert bucket_settings().region == "eu-north-1"
    monkeypatch.setenv("AWS_REGION", "cn-north-1")
    assert bucket_settings().url == "https://s3.cn-north-1.amazonaws.com.cn"


def test_keys_of_the_environment_come_before_those_of_a_file(home, monkeypatch):
    home(credentials=PLAIN)
    assert _keys() == ("A", "B", None)
    for name, value in (("ACCESS_KEY_ID", "C"), ("SECRET_ACCESS_KEY", "D"), ("SESSION_TOKEN", "E")):
        monkeypatch.setenv(f"AWS_{name}", value)
    assert _keys() == ("C", "D", "E")


def test_a_profile_is_read_from_both_files(home, monkeypatch):
    home(
        config="[profile beamline]\nregion = eu-west-1\nservices = local\n\n"
        "[services local]\ns3 =\n  endpoint_url = http://store:9000\n",
        credentials="[beamline]\naws_access_key_id = A\naws_secret_access_key = B\naws_session_token = C\n",
    )
    monkeypatch.setenv("AWS_PROFILE", "beamline")
    settings = bucket_settings()
    assert (settings.endpoint, settings.region) == ("http://store:9000", "eu-west-1")
    assert _keys() == ("A", "B", "C")


def test_an_endpoint_may_stand_in_the_profile(home):
    home(config="[default]\nendpoint_url = https://all:1\n")
    assert bucket_settings().endpoint == "https://all:1"


def test_the_files_may_lie_elsewhere(home, tmp_path, monkeypatch):
    (tmp_path / "keys").write_text(PLAIN)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    assert _keys() == ("A", "B", None)


def test_a_profile_that_is_not_there_is_named(home, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "beamline")
    with pytest.raises(StoreError, match="AWS_PROFILE=beamline: there is no such profile"):
        bucket_settings()


@pytest.mark.parametrize("endpoint", ["store:9000", "ftp://store", "http://me:hunter2@store"])
def test_an_endpoint_that_is_none_is_said_without_its_password(endpoint, home, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StoreError, match=r"^endpoint ") as caught:
        bucket_settings()
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read_shows_none_of_its_lines(home):
    home(config="[default\naws_secret_access_key = hunter2\n")
    with pytest.raises(StoreError, match=r"config cannot be read as a file of AWS profiles") as caught:
        bucket_settings()
    assert "hunter2" not in str(caught.value)


def test_a_profile_takes_its_keys_from_a_command(home):
    given = '{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "B"}'
    home(config=f"[default]\ncredential_process = echo '{given}'\n")
    assert _keys() == ("A", "B", None)
    home(config="[default]\ncredential_process = sh -c 'echo hunter2 >&2; exit 1'\n")
    with pytest.raises(StoreError, match="botocore finds no AWS credentials") as caught:
        credentials()
    assert "hunter2" not in str(caught.value)


def test_keys_are_read_again_while_a_run_goes_on(home):
    home(credentials=PLAIN)
    assert _keys()[1] == "B"
    home(credentials=PLAIN.replace("= B", "= NEW"))
    assert _keys()[1] == "NEW"


def test_without_botocore_the_command_to_install_it_is_said(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(MissingExtraError, match=r"s3:// needs botocore: install nbdist with its extra s3"):
        bucket_settings()


def test_a_password_of_a_url_is_blotted_out():
    assert scrubbed("no http://me:hunt@er2@host/a@b") == "no http://***@host/a@b"
    assert scrubbed("GET http://me:hunter2@host/x and s3://hunter2@b") == "GET http://***@host/x and s3://***@b"
