"""Objects in an S3 bucket, through obstore: requests that are throttled or lost are made again, errors are one line without secrets.

The text of obstore's errors quotes requests and answers, which may hold an access key or a signature; it is read for the status and
the server's code, and never passed on. What travels to another process is the URL: credentials are found there anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar
from urllib.parse import urlsplit

from nbdist.errors import NbdistError, StoreError, UnreachableError, require_extra
from nbdist.store.bucket_settings import bucket_settings, credentials
from nbdist.store.objects import PASSING, ROOT, Objects, Span

RETRY_S = 240.0
"""How long a request is made again while a server throttles, fails or is away; below five minutes, the life of a signature."""
FIRST_RETRY_S = 6.0
"""The same for the very first request: an endpoint that is wrong is said soon."""
BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 10.0
"""Seconds between two attempts: the first time, and at most, as they double."""
CONNECT_S, REQUEST_S = 5, 60
"""Seconds for a connection to be made, and for one request to be answered in full."""
CREATIONS = 5
"""How often an object is created whose answer is lost."""
UPLOADS = 2
"""How often an object is written that the server says is missing while it is written."""
MULTIPART_BYTES = 16 * 2**20
READERS = 16
"""Small objects read at once."""
LISTED_FROM = 64
"""Sizes of more objects than this are read off a listing instead of being asked for one by one."""
LISTED_AT_ONCE = 1000
"""Objects of a page of a listing, as S3 answers."""
OTHER_REGION = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed"})
BUSY = "to every attempt"

T = TypeVar("T")
_buckets: dict[tuple[str, frozenset[tuple[str, str]]], Bucket] = {}
"""By URL and what the environment says of how to reach it: to find that out takes a while."""
_process = {"used": False, "forked": False}


def _after_fork() -> None:
    _process["forked"] = _process["used"]


os.register_at_fork(after_in_child=_after_fork)


def bucket_at(url: str, patient: bool = False) -> Bucket:
    """The objects below s3://BUCKET/PATH; the bucket has answered once in this process.

    Parameters
    ----------
    patient
        Leave out that first question, which is asked with little patience: the client has asked it, and a worker that joins while the
        server is away waits for it as for every other answer.

    Raises
    ------
    StoreError
        If the URL is another, obstore is not installed, or the server, bucket or credentials do not serve.
    """
    url = checked_url(url)
    key = (
        url,
        frozenset((name, value) for name, value in os.environ.items() if name == "HOME" or name.startswith("AWS_")),
    )
    if key not in _buckets:
        bucket = Bucket(url)
        if not patient:
            bucket.probe()
        _buckets[key] = bucket
    return _buckets[key]


def checked_url(url: str) -> str:
    """A URL of a store, s3://BUCKET/PATH without a slash at its end.

    Raises
    ------
    StoreError
        If it is anything else, or holds credentials.
    """
    scheme, _, rest = url.partition("://")
    name, _, path = rest.partition("/")
    if "@" in name:
        raise StoreError(
            f"{scheme}://***@{name.rpartition('@')[2]}/{path}: credentials have no place in a URL; "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials, are the place for them"
        )
    if scheme != "s3":
        raise StoreError(f"{scheme}://{name}: a store is a path or s3://BUCKET/PATH")
    path = "/".join(part for part in path.split("/") if part)
    if not re.fullmatch(r"[\w.-]{3,63}", name) or not path or urlsplit(url).query or ".." in path.split("/"):
        raise StoreError(f"{url.partition('?')[0]}: expected s3://BUCKET/PATH")
    return f"s3://{name}/{path}"


class Bucket(Objects):
    """Objects below s3://BUCKET/PATH."""

    def __init__(self, url: str) -> None:
        require_extra("s3", url)
        self.location = url
        try:
            self.settings = bucket_settings()
            credentials()
        except StoreError as error:
            raise StoreError(f"{url}: {error}") from None
        self.bucket, _, self.prefix = url.removeprefix("s3://").partition("/")
        self.client = self._connected(RETRY_S)

    def _connected(self, retry_s: float) -> Any:
        from obstore.store import S3Store

        endpoint = self.settings.url
        config = {"region": self.settings.region, "endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
        first, longest = (timedelta(seconds=seconds) for seconds in (BACKOFF_S, LONGEST_BACKOFF_S))
        backoff = {"init_backoff": first, "max_backoff": longest, "base": 2}
        retry = {"max_retries": 100, "retry_timeout": timedelta(seconds=retry_s), "backoff": backoff}
        options: dict[str, Any] = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "timeout": timedelta(seconds=REQUEST_S),
        }
        make: Any = S3Store
        try:
            return make(
                self.bucket,
                prefix=self.prefix,
                config=config,
                client_options=options,
                retry_config=retry,
                credential_provider=credentials,
            )
        except (NbdistError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a panic of the Rust code is no Exception
            raise StoreError(
                f"{self.location}: {self.settings.server} is no S3 endpoint ({type(error).__name__})"
            ) from None

    def probe(self) -> None:
        """Ask once, with little patience, for the object that every store has.

        Raises
        ------
        StoreError
            If the server cannot be reached, or the bucket or the credentials do not serve. A server that answers, but is too busy, is
            left to the patience of the requests that follow.
        """
        import obstore

        quick = self._connected(FIRST_RETRY_S)
        try:
            self._asked(lambda: bytes(obstore.get(quick, ROOT).bytes()), None)
        except UnreachableError as error:
            if not error.args[0].endswith(BUSY):
                raise

    def read(self, key: str) -> bytes | None:
        """An object's content, or None where there is none."""
        import obstore

        return self._asked(lambda: bytes(obstore.get(self.client, key).bytes()), None)

    def read_end(self, key: str, size: int) -> bytes | None:
        """The last bytes of an object, all of a shorter one, or None where there is none."""
        import obstore

        return self._asked(
            lambda: bytes(obstore.get(self.client, key, options={"range": {"suffix": size}}).bytes()), None
        )

    def read_spans(self, key: str, spans: Sequence[Span]) -> list[bytes | memoryview] | None:
        """Bytes [start, stop) of an object for each span, in as few requests as obstore makes; None where there is none."""
        import obstore

        starts, ends = [start for start, _ in spans], [stop for _, stop in spans]
        found = self._asked(lambda: obstore.get_ranges(self.client, key, starts=starts, ends=ends), None)
        return None if found is None else [memoryview(piece) for piece in found]

    def write(self, key: str, content: bytes | memoryview) -> str | None:
        """Write an object, or replace it, in one step; return its ETag.

        The end of an upload in pieces whose answer is lost is asked for again, and then there is no such upload: it is looked whether
        the object is there, and it is written once more where it is not.
        """
        import obstore

        put: Any = obstore.put
        for _ in range(UPLOADS):
            done = self._asked(lambda: put(self.client, key, content, chunk_size=MULTIPART_BYTES), None)
            if done is not None:
                return _etag(done)
            if (
                self._size(key) == len(content) and self.read(key) == content
            ):  # one of the same size may be an older one
                return None
        raise UnreachableError(f"{self.location}: {self.settings.server} loses the upload of {key}")

    def create(self, key: str, content: bytes) -> bool:
        """Write an object where there is none; False, and nothing written, where there is one."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        put: Any = obstore.put
        for attempt in range(CREATIONS):
            try:
                self._asked(lambda: put(self.client, key, content, mode="create"), None)
                return True
            except AlreadyExistsError:
                # an answer that was lost makes the repeated request meet its own object
                return self.read(key) == content
            except UnreachableError:
                # obstore does not repeat what is not safe to repeat blindly
                found = self.read(key)
                if found is not None:
                    return found == content
                if attempt == CREATIONS - 1:
                    raise
        raise AssertionError

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        import obstore

        self._asked(lambda: obstore.delete(self.client, key), None)

    def delete_if(self, key: str, content: bytes) -> bool:
        """Remove an object that has this content; False, and nothing removed, where there is another or none.

        Not every server can do this in one step; what comes between the two requests is seen at the next look of the one that it harms.
        """
        if self.read(key) != content:
            return False
        self.delete(key)
        return True

    def each_name(self, folder: str) -> Iterator[str]:
        """Names of the objects directly below a folder, one after the other; none where there is no such folder."""
        for item in self._listing(folder):
            name = item["path"].removeprefix(f"{folder}/")
            if "/" not in name:
                yield name

    def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """Bytes of those objects that exist."""
        wanted = list(keys)
        if len(wanted) > LISTED_FROM:
            return self._listed(wanted, itemgetter("size"))
        with ThreadPoolExecutor(READERS) as pool:
            found = pool.map(self._size, wanted)
            return {key: size for key, size in zip(wanted, found, strict=True) if size is not None}

    def _size(self, key: str) -> int | None:
        import obstore

        return self._asked(lambda: int(obstore.head(self.client, key)["size"]), None)

    def _listed(self, keys: list[str], field: Callable[[Any], Any]) -> dict[str, Any]:
        """A field of those objects that exist, read off a listing that goes no further than the keys."""
        wanted, last = set(keys), max(keys)
        found, ordered, before = {}, True, ""
        for item in self._listing(_common_folder(keys), after=min(keys)[:-1]):
            key = item["path"]
            if key in wanted:
                found[key] = field(item)
            ordered, before = ordered and key > before, key
            if ordered and key > last:  # S3 lists by key; a server that does not is listened to until its end
                break
        return found

    def _listing(self, folder: str | None = None, after: str | None = None) -> Iterator[Any]:
        """What a server says of each object below a folder (whose key comes after another), a page at a time."""
        import obstore

        options: dict[str, Any] = {"prefix": folder, "offset": after, "chunk_size": LISTED_AT_ONCE}
        pages = self._asked(lambda: iter(obstore.list(self.client, **options)), iter(()))
        while (page := self._asked(lambda: next(pages, None), None)) is not None:
            yield from page

    def stamps(self, keys: Iterable[str]) -> dict[str, str]:
        """ETags of those objects that exist."""
        wanted = list(keys)
        if len(wanted) > LISTED_FROM:
            return {key: tag for key, tag in self._listed(wanted, _etag).items() if tag}
        with ThreadPoolExecutor(READERS) as pool:
            tags = pool.map(self._tag, wanted)
            return {key: tag for key, tag in zip(wanted, tags, strict=True) if tag}

    def _tag(self, key: str) -> str | None:
        import obstore

        return self._asked(lambda: _etag(obstore.head(self.client, key)), None)

    def read_all(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Each key with its content, in order."""
        wanted = list(keys)
        with ThreadPoolExecutor(READERS) as pool:
            yield from zip(wanted, pool.map(self.read, wanted), strict=True)

    def exists(self) -> bool:
        """Whether anything lies below the URL but locks."""
        return any(not item["path"].endswith(PASSING) for item in self._listing())

    def check_writable(self) -> None:
        """Do nothing: nothing is known before something is written."""

    def clear(self, keep: Collection[str] = ()) -> None:
        """Remove every object but those of these keys."""
        import obstore

        kept = {ROOT, *keep}
        keys = (item["path"] for item in self._listing() if item["path"] not in kept)
        while some := list(islice(keys, LISTED_AT_ONCE)):
            self._asked(lambda some=some: obstore.delete(self.client, some), None)  # type: ignore[misc]
        if ROOT not in keep:
            self.delete(ROOT)

    def sweep(self) -> None:
        """Do nothing: an object appears when all of it is there."""

    def _asked(self, request: Callable[[], T], absent: T) -> T:
        """The answer to a request, or `absent` where there is no such object."""
        self.check_process()
        try:
            return request()
        except Exception as error:
            failure = self._failure(error)
        if failure is None:
            return absent
        raise failure  # out here it does not carry obstore's error along

    def _failure(self, error: Exception) -> Exception | None:
        """What to raise for an error of a request; None where there is no such object."""
        if isinstance(error, FileNotFoundError) and "<Code>NoSuchBucket" not in str(error):
            return None
        if isinstance(error, NbdistError):
            return error
        if type(error).__name__ == "AlreadyExistsError":
            return type(error)("there is an object already")
        return self.translated(error)

    def check_process(self) -> None:
        """Refuse what would hang: obstore's threads do not come along when a process is forked.

        Raises
        ------
        StoreError
            In a process forked from one that has used a bucket.
        """
        _process["used"] = True
        if _process["forked"]:
            raise StoreError(
                f"{self.location}: a forked process cannot go on with the object store of its parent; "
                "give the DataLoader multiprocessing_context='forkserver' or 'spawn'"
            )

    def translated(self, error: Exception) -> StoreError:
        """One line for an error of obstore: what the server said by number and code, nothing of the request."""
        text, server = str(error), self.settings.server
        status = re.search(r"\bstatus(?: code)?: (\d{3})\b", text)
        code = re.search(r"<Code>(\w{1,60})</Code>", text)
        answer = " ".join(found[1] for found in (status, code) if found)
        if code and code[1] == "NoSuchBucket":
            return StoreError(f"{self.location}: {server} has no bucket {self.bucket}")
        if answer.startswith("301") or (code and code[1] in OTHER_REGION):
            return StoreError(
                f"{self.location}: bucket {self.bucket} lies in another region than {self.settings.region}; set AWS_REGION"
            )
        if status is None:
            what = "does not answer in time" if "Timeout" in text or "timed out" in text else "cannot be reached"
            return UnreachableError(f"{self.location}: {server} {what}")
        if int(status[1]) in (408, 409, 429) or int(status[1]) >= 500:
            return UnreachableError(f"{self.location}: {server} answers {answer} {BUSY}")
        if status[1] in ("401", "403"):
            return StoreError(f"{self.location}: access was refused by {server} ({answer}); are the credentials right?")
        return StoreError(f"{self.location}: {server} answers {answer}")


def _common_folder(keys: list[str]) -> str:
    return os.path.commonprefix(keys).rpartition("/")[0]  # noqa: RUF071


def _etag(answer: Any) -> str | None:
    tag = answer.get("e_tag")
    return str(tag) if tag else None
