"""A server that throttles, fails, or loses requests and answers; and errors that a person can read, without a credential in them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
import threading
import time
import traceback

import numpy as np
import pytest
from command_line import run_command

from nbdist import generate, open_series
from nbdist.cli import main
from nbdist.errors import MissingExtraError, NbdistError, StoreError, UnreachableError
from nbdist.experiment import experiment_to_yaml
from nbdist.store import UnitWriter, bucket, summarize
from nbdist.store.places import objects_at, zarr_store

pytestmark = pytest.mark.integration

SIGNATURE_WRONG = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match</Message>
<AWSAccessKeyId>{key}</AWSAccessKeyId><StringToSign>AWS4-HMAC-SHA256 {key}/{secret}</StringToSign></Error>"""
"""What Amazon answers to a wrong secret: it quotes the access key; this one quotes the secret too."""


@pytest.fixture(scope="module")
def experiment(small_experiment):
    return small_experiment(panel={"spixels": 16, "fpixels": 20, "pixel_size_mm": 4.0}, scan={"frames": 4})


@pytest.fixture(scope="module")
def local(experiment, tmp_path_factory):
    location = tmp_path_factory.mktemp("local") / "series.zarr"
    generate(experiment, location, serial=True, frames_per_shard=1)
    return location


@pytest.fixture
def file(experiment, tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(experiment_to_yaml(experiment))
    return path


KINDS = {
    "throttled": [(503, "SlowDown"), (429, "TooManyRequests")],
    "failing": [(500, "InternalError"), (502, "BadGateway")],
    "dropping connections": [(None, "")],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_outlives_a_server_that_is(kind, experiment, local, location, proxy):
    dice = random.Random(1)

    def rule(method, path, number):
        if dice.random() < 0.2:
            raise proxy.fault(*dice.choice(KINDS[kind]))

    proxy.rule = rule
    progress = generate(experiment, location, serial=True, frames_per_shard=1)
    assert (progress.frames_done, progress.failed) == (4, {})
    assert proxy.faults > 5, "there was trouble"
    np.testing.assert_array_equal(open_series(location).intensity, open_series(local).intensity)


def test_a_store_whose_making_lost_its_answer_is_still_ours(experiment, local, location, proxy):
    lost = []

    def rule(method, path, number):
        if method == "PUT" and not lost and path.endswith("/series.zarr/zarr.json"):
            lost.append(number)
            raise proxy.lost_answer()

    proxy.rule = rule
    generate(experiment, location, serial=True, frames_per_shard=1)
    assert lost, "the answer to the first object was lost, so that its repetition met the object itself"
    np.testing.assert_array_equal(open_series(location).intensity, open_series(local).intensity)


def test_a_server_that_is_away_for_good_fails_units_and_resume_goes_on(experiment, local, location, proxy, monkeypatch):
    monkeypatch.setattr(bucket, "RETRY_S", 0.5)
    away = threading.Event()

    def rule(method, path, number):
        if path.endswith("intensity/c/1/0/0") and method == "PUT":
            away.set()
        if away.is_set() and "intensity/c/2" in path:
            raise proxy.fault(503, "SlowDown")

    proxy.rule = rule
    progress = generate(experiment, location, serial=True, frames_per_shard=1)
    assert list(progress.failed) == [2]
    assert "answers 503 SlowDown to every attempt" in progress.failed[2]
    proxy.rule = lambda method, path, number: None
    assert generate(experiment, location, serial=True, resume=True).frames_done == 1
    np.testing.assert_array_equal(open_series(location).intensity, open_series(local).intensity)


def test_credentials_that_are_taken_away_end_the_run_at_once(experiment, location, proxy):
    def rule(method, path, number):
        if "intensity/c/1" in path:
            raise proxy.fault(403, "ExpiredToken")

    proxy.rule = rule
    with pytest.raises(StoreError, match=r"access was refused by http://127\.0\.0\.1:\d+ \(403 ExpiredToken\)"):
        generate(experiment, location, serial=True, frames_per_shard=1)
    proxy.rule = lambda method, path, number: None
    assert summarize(location).complete == {0}


def _run_here(monkeypatch, capfd, *arguments):
    """The command in this process, with everything that is logged or printed, and the traceback of the error."""
    monkeypatch.setattr(sys, "argv", ["nbdist", *map(str, arguments)])
    capfd.readouterr()
    logging.getLogger().setLevel(logging.DEBUG)
    shown = ""
    try:
        main.run()
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException as error:
        shown, code = "".join(traceback.format_exception(error)), -1
    finally:
        logging.getLogger().setLevel(logging.WARNING)
    said = capfd.readouterr()
    return code, said.out + said.err + shown


@pytest.mark.parametrize("arguments", [("info",), ("run", "FILE", "-o"), ("--debug", "-v", "verify")])
def test_wrong_credentials_are_said_in_one_line_without_them(
    arguments, file, location, proxy, monkeypatch, capfd, caplog, assert_no_secret
):
    def rule(method, path, number):
        raise proxy.fault(
            403,
            "",
            SIGNATURE_WRONG.format(key=os.environ["AWS_ACCESS_KEY_ID"], secret=os.environ["AWS_SECRET_ACCESS_KEY"]),
        )

    proxy.rule = rule
    words = [file if word == "FILE" else word for word in arguments]
    options = ("--serial",) if "run" in words else ()
    code, shown = _run_here(monkeypatch, capfd, *words, location, *options)
    assert code == (-1 if "--debug" in words else 2)
    assert f"{location}: access was refused by {proxy.url} (403 SignatureDoesNotMatch)" in shown
    assert_no_secret(shown, caplog.text)
    if "--debug" not in words:
        assert shown.count("\n") == 1, shown


def test_an_exception_carries_no_error_that_quotes_credentials(experiment, location, proxy, assert_no_secret):
    generate(experiment, location, serial=True, frames_per_shard=1)
    data, objects = open_series(location, chunks=None), objects_at(location)

    def rule(method, path, number):
        key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        raise proxy.fault(403, "", SIGNATURE_WRONG.format(key=key, secret=secret))

    proxy.rule = rule
    for use in (
        lambda: objects.read("zarr.json"),
        lambda: objects.write("a", b""),
        lambda: objects.create("a", b""),
        lambda: objects.names("records"),
        lambda: data.intensity[0].values,
        lambda: list(open_group_members(location)),
    ):
        with pytest.raises(StoreError, match="access was refused") as caught:
            use()
        error: BaseException | None = caught.value
        while error is not None:
            assert_no_secret(str(error), repr(error))
            error = error.__cause__ or error.__context__


def open_group_members(location):
    """Names in the store, as zarr lists them."""

    async def names(store):
        return [name async for name in store.list_dir("")]

    return asyncio.run(names(zarr_store(objects_at(location), read_only=True)))


def test_a_bucket_that_is_not_there_is_said_in_one_line(s3_environment, file, monkeypatch, capsys, assert_no_secret):
    for words in (("info",), ("run", str(file), "--serial", "-o")):
        said = run_command([*words, "s3://no-such-bucket/a.zarr"], monkeypatch, capsys)
        assert said.status == 2
        assert said.err == f"nbdist: s3://no-such-bucket/a.zarr: {s3_environment} has no bucket no-such-bucket\n"
        assert_no_secret(said.out, said.err)


def test_an_endpoint_that_nobody_serves_is_said_without_the_patience_of_a_run(location, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(bucket, "FIRST_RETRY_S", 0.2)
    began = time.monotonic()
    said = run_command(["info", location], monkeypatch, capsys)
    assert time.monotonic() - began < bucket.RETRY_S
    assert said.status == 2
    assert said.err == f"nbdist: {location}: http://127.0.0.1:9 cannot be reached\n"


def test_a_server_that_is_only_busy_at_first_is_waited_for(experiment, location, proxy, monkeypatch):
    monkeypatch.setattr(bucket, "FIRST_RETRY_S", 0.2)
    busy = iter([True] * 6)

    def rule(method, path, number):
        if next(busy, False):
            raise proxy.fault(503, "SlowDown")

    proxy.rule = rule
    assert not objects_at(location).exists()


@pytest.mark.parametrize(
    ("endpoint", "answer"),
    [
        ("http://somebody:hunter2@127.0.0.1:9", r"endpoint http://\*\*\*@127\.0\.0\.1:9 holds a user or a password"),
        ("https://hunter2@127.0.0.1:9", r"endpoint https://\*\*\*@127\.0\.0\.1:9 holds a user or a password"),
        ("127.0.0.1:9000", "expected http://HOST:PORT or https://HOST"),
        ("http://", "expected http://HOST:PORT"),
    ],
)
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"])
def test_an_endpoint_that_is_none_or_holds_a_password(name, endpoint, answer, location, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(name, endpoint)
    with pytest.raises(StoreError, match=answer) as caught:
        open_series(location)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("s3://AKIA:hunter2@bucket/a.zarr", r"s3://\*\*\*@bucket/a.zarr: credentials have no place in a URL"),
        ("gs://bucket/a.zarr", "a store is a path or s3://BUCKET/PATH"),
        ("s3://bucket", "expected s3://BUCKET/PATH"),
        ("s3://bucket/../../other/a.zarr", "expected s3://BUCKET/PATH"),
        ("s3://bucket/a.zarr?X-Amz-Signature=hunter2", "expected s3://BUCKET/PATH"),
    ],
)
def test_a_url_that_is_no_place_for_a_store(url, answer, s3_environment, experiment):
    for use in (open_series, lambda place: generate(experiment, place, serial=True)):
        with pytest.raises(NbdistError, match=answer) as caught:
            use(url)
        assert "hunter2" not in str(caught.value)


def test_no_credentials_at_all_are_said_without_the_patience_of_a_run(location, command, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    said = command("info", location, seconds=bucket.RETRY_S, AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:9")
    assert said.code == 2
    assert said.err == (
        f"nbdist: {location}: no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE\n"
    )


def test_without_the_package_the_command_to_install_it_is_said(location, monkeypatch):
    monkeypatch.setattr(bucket, "_buckets", {})
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingExtraError) as caught:
        open_series(location)
    assert str(caught.value) == f"{location} needs obstore: install nbdist with its extra s3"


def test_an_error_that_may_pass_is_told_from_one_that_stays(location, proxy):
    objects = objects_at(location)
    made = [(503, "SlowDown", UnreachableError), (403, "AccessDenied", StoreError), (400, "BadDigest", StoreError)]
    for status, code, kind in made:
        error = objects.translated(RuntimeError(f"status: {status}, <Error><Code>{code}</Code>"))
        assert type(error) is kind
        assert f"{status} {code}" in str(error)
    assert "set AWS_REGION" in str(objects.translated(RuntimeError("status: 301, <Code>PermanentRedirect</Code>")))


def test_an_overwrite_removes_the_root_last(location, proxy):
    objects, before = objects_at(location), []
    for key in ("zarr.json", "a/b", "z"):
        objects.write(key, b"{}")

    def rule(method, path, number):
        if method in ("POST", "DELETE"):
            before.append(sorted(item["path"] for item in objects._listing()))

    proxy.rule = rule
    objects.clear()
    assert before == [["a/b", "z", "zarr.json"], ["zarr.json"]]
    assert not objects.exists()


NO_UPLOAD = (404, "NoSuchUpload")


def test_an_upload_whose_last_answer_is_lost_is_there_and_is_kept(location, proxy):
    objects, content, lost = objects_at(location), os.urandom(bucket.MULTIPART_BYTES + 1), []

    def rule(method, path, number):
        if method == "POST" and "uploadId=" in path:
            lost.append(number)
            if len(lost) == 1:
                raise proxy.lost_answer()
            raise proxy.fault(*NO_UPLOAD)

    proxy.rule = rule
    objects.write("large", content)
    assert len(lost) == 2, "the end of the upload was asked for again, and not a second upload for its end"
    assert objects.read("large") == content


@pytest.mark.parametrize("kept", [1, None], ids=["once", "always"])
def test_an_upload_that_the_server_loses_is_made_again_and_is_not_fatal(kept, location, proxy):
    objects, content, ends = objects_at(location), os.urandom(bucket.MULTIPART_BYTES + 1), []
    objects.write("large", bytes(len(content)))

    def rule(method, path, number):
        if method == "POST" and "uploadId=" in path:
            ends.append(number)
            if kept is None or len(ends) <= kept:
                raise proxy.fault(*NO_UPLOAD)

    proxy.rule = rule
    if kept is None:
        with pytest.raises(UnreachableError, match="loses the upload of large"):
            objects.write("large", content)
    else:
        objects.write("large", content)
        assert objects.read("large") == content, "an older object of the same size is not taken for it"
    assert len(ends) == 2


def test_a_bucket_that_is_gone_ends_the_run(location, proxy):
    objects = objects_at(location)

    def rule(method, path, number):
        if method == "PUT":
            raise proxy.fault(404, "NoSuchBucket")

    proxy.rule = rule
    with pytest.raises(StoreError, match="has no bucket bucket") as caught:
        objects.write("a", b"1")
    assert not isinstance(caught.value, UnreachableError)


def test_a_worker_that_opens_the_store_while_the_server_is_away_waits(experiment, location, proxy, monkeypatch):
    generate(experiment, location, serial=True, frames_per_shard=1)
    monkeypatch.setattr(bucket, "FIRST_RETRY_S", 0.2)
    refused, away = [], True

    def rule(method, path, number):
        if away or len(refused) < 3:
            refused.append(number)
            raise proxy.fault()

    proxy.rule = rule
    monkeypatch.setattr(bucket, "_buckets", {})
    with pytest.raises(UnreachableError):
        open_series(location)
    refused.clear()
    away = False  # from its fourth request on
    UnitWriter(location)
    assert len(refused) == 3
