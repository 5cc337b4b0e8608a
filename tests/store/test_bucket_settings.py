"""Endpoint, region and credentials from the environment and from the files of AWS's tools."""

from __future__ import annotations

import pytest

from nbdist.errors import StoreError
from nbdist.store.bucket_settings import bucket_settings, provider, scrubbed


@pytest.fixture
def home(tmp_path):
    """An environment with a home of its own, and `write(config=..., credentials=...)` for its files."""

    class Home(dict):
        def write(self, **files):
            (tmp_path / ".aws").mkdir(exist_ok=True)
            for name, text in files.items():
                (tmp_path / ".aws" / name).write_text(text)

    return Home(HOME=str(tmp_path))


def test_without_anything_it_is_amazon_and_the_machines_own_role(home):
    settings = bucket_settings(home)
    assert (settings.endpoint, settings.region, settings.keys, settings.profile) == (None, "us-east-1", None, None)
    assert settings.url == "https://s3.us-east-1.amazonaws.com"
    assert settings.server == "Amazon S3 (us-east-1)"
    assert provider(settings) is None


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({"AWS_ENDPOINT_URL": "http://a:1/"}, "http://a:1"),
        ({"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_S3": "http://b:2"}, "http://b:2"),
        ({"AWS_ENDPOINT_URL": ""}, None),
    ],
)
def test_the_endpoint_of_s3_comes_before_the_one_of_all_services(given, endpoint, home):
    assert bucket_settings({**home, **given}).endpoint == endpoint


def test_the_region_is_that_of_the_environment_or_of_the_profile(home):
    home.write(config="[default]\nregion = eu-west-3\n")
    assert bucket_settings(home).region == "eu-west-3"
    assert bucket_settings({**home, "AWS_DEFAULT_REGION": "eu-north-1"}).region == "eu-north-1"
    both = {**home, "AWS_DEFAULT_REGION": "eu-north-1", "AWS_REGION": "cn-north-1"}
    assert bucket_settings(both).url == "https://s3.cn-north-1.amazonaws.com.cn"


def test_keys_of_the_environment_come_before_those_of_a_file(home):
    home.write(credentials="[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    assert bucket_settings(home).keys == ("A", "B", None)
    given = {"AWS_ACCESS_KEY_ID": "C", "AWS_SECRET_ACCESS_KEY": "D", "AWS_SESSION_TOKEN": "E"}
    assert bucket_settings({**home, **given}).keys == ("C", "D", "E")


def test_a_profile_is_read_from_both_files(home):
    home.write(
        config="[profile beamline]\nregion = eu-west-1\nservices = local\n\n"
        "[services local]\ns3 =\n  endpoint_url = http://store:9000\n",
        credentials="[beamline]\naws_access_key_id = A\naws_secret_access_key = B\naws_session_token = C\n",
    )
    settings = bucket_settings({**home, "AWS_PROFILE": "beamline"})
    assert (settings.endpoint, settings.region, settings.keys) == ("http://store:9000", "eu-west-1", ("A", "B", "C"))


def test_an_endpoint_may_stand_in_the_profile(home):
    home.write(config="[default]\nendpoint_url = https://all:1\n")
    assert bucket_settings(home).endpoint == "https://all:1"
    home.write(config="[default]\nendpoint_url = https://all:1\ns3 =\n  endpoint_url = https://store:2\n")
    assert bucket_settings(home).endpoint == "https://store:2"


def test_the_files_may_lie_elsewhere(home, tmp_path):
    (tmp_path / "keys").write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    assert bucket_settings({**home, "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys")}).keys == ("A", "B", None)


def test_a_profile_that_is_not_there_is_named(home):
    with pytest.raises(StoreError, match="AWS_PROFILE=beamline: there is no such profile"):
        bucket_settings({**home, "AWS_PROFILE": "beamline"})


def test_a_file_that_cannot_be_read_shows_none_of_its_lines(home):
    home.write(credentials="[default\naws_secret_access_key = hunter2\n")
    with pytest.raises(StoreError, match="cannot be read as a file of AWS profiles") as caught:
        bucket_settings(home)
    assert "hunter2" not in str(caught.value)


def test_keys_from_elsewhere_are_left_to_boto3(home, monkeypatch):
    home.write(config="[default]\nsso_session = institute\n")
    settings = bucket_settings(home)
    assert (settings.keys, settings.profile) == (None, "default")
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(StoreError, match="pip install boto3"):
        provider(settings)


def test_keys_are_read_again_while_a_run_goes_on(home, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", home["HOME"])
    monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE", raising=False)
    home.write(credentials="[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    keys = provider(bucket_settings())
    assert keys()["secret_access_key"] == "B"
    home.write(credentials="[default]\naws_access_key_id = A\naws_secret_access_key = NEW\n")
    assert keys()["secret_access_key"] == "NEW"


def test_nothing_of_a_credential_is_shown(home):
    home.write(credentials="[default]\naws_access_key_id = AKIA\naws_secret_access_key = hunter2\n")
    shown = repr(bucket_settings(home))
    assert "hunter2" not in shown
    assert "AKIA" not in shown
    assert scrubbed("GET http://me:hunter2@host/x and s3://hunter2@b") == "GET http://***@host/x and s3://***@b"
