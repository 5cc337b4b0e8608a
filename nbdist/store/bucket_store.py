"""What zarr reads a bucket through: obstore's errors are translated, and another process gets the URL only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

from zarr.storage import ObjectStore

from nbdist.store.bucket import Bucket, bucket_at


class BucketStore(ObjectStore):
    """A zarr store below s3://BUCKET/PATH; `objects` are its objects."""

    def __init__(self, objects: Bucket, *, read_only: bool = False) -> None:
        super().__init__(objects.client, read_only=read_only)
        self.objects = objects

    def with_read_only(self, read_only: bool = False) -> BucketStore:
        """This store, to read or to write."""
        return BucketStore(self.objects, read_only=read_only)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.objects.location, self.read_only)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BucketStore) and (self.objects, self.read_only) == (other.objects, other.read_only)

    def __hash__(self) -> int:
        return hash((self.objects.location, self.read_only))

    def __str__(self) -> str:
        return self.objects.location

    async def _answered(self, request: Awaitable[Any]) -> Any:
        self.objects.check_process()
        failure: Exception
        try:
            return await request
        except FileNotFoundError as error:
            failure = FileNotFoundError(*error.args[:1])
        except Exception as error:
            failure = self.objects.translated(error) if type(error).__module__.startswith("obstore") else error
        raise failure  # out here it does not carry obstore's error along

    async def get(self, *arguments: Any, **options: Any) -> Any:
        """An object's content, or None."""
        return await self._answered(super().get(*arguments, **options))

    async def get_partial_values(self, *arguments: Any, **options: Any) -> Any:
        """Ranges of objects."""
        return await self._answered(super().get_partial_values(*arguments, **options))

    async def exists(self, key: str) -> bool:
        """Whether there is an object."""
        return bool(await self._answered(super().exists(key)))

    async def set(self, key: str, value: Any) -> None:
        """Write an object."""
        await self._answered(super().set(key, value))

    async def delete(self, key: str) -> None:
        """Remove an object."""
        await self._answered(super().delete(key))

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Keys below a prefix."""
        for key in await self._answered(_all(super().list_prefix(prefix))):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names directly below a prefix."""
        for name in await self._answered(_all(super().list_dir(prefix))):
            yield name


async def _all(names: AsyncIterator[str]) -> list[str]:
    return [name async for name in names]


def _reopened(url: str, read_only: bool) -> BucketStore:
    return BucketStore(bucket_at(url), read_only=read_only)
