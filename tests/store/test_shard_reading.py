"""Pixels of frames read out of shards without zarr are those that zarr reads, and come in few pieces."""

from __future__ import annotations

import google_crc32c
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec
from zarr.storage import LocalStore

from nbdist.errors import StoreError
from nbdist.frames.products import COUNTS
from nbdist.planning.layout import panel_groups
from nbdist.store import shard_reading
from nbdist.store.objects import Folder
from nbdist.store.schema import FrameArray
from nbdist.store.shard_reading import ShardReader

FRAMES, SHARD = 7, 3


class Noted(Folder):
    """Objects of a folder, and what was read of them."""

    def __init__(self, location):
        super().__init__(location)
        self.read_in_spans, self.read_at_ends, self.read_whole = [], [], []

    def read_spans(self, key, spans):
        self.read_in_spans.append((key, list(spans)))
        return super().read_spans(key, spans)

    def read_end(self, key, size):
        self.read_at_ends.append(key)
        return super().read_end(key, size)

    def read(self, key):
        self.read_whole.append(key)
        return super().read(key)


def written(folder, shape=(50, 41), chunk=(20, 11), **options):
    """An array of frames (FRAMES, *shape), as a store has it, with what it holds."""
    panels = (1,) * (len(shape) - 2)
    shard = (SHARD, *shape[:-2], *(-(-size // its) * its for size, its in zip(shape[-2:], chunk, strict=True)))
    given = {
        "name": "counts",
        "shape": (FRAMES, *shape),
        "dtype": "int32",
        "chunks": (1, *panels, *chunk),
        "shards": shard,
        "compressors": [BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"), Crc32cCodec()],
        "fill_value": 113,
        "config": {"write_empty_chunks": True},
    }
    array = zarr.create_group(LocalStore(folder)).create_array(**given | options)
    values = np.random.default_rng(1).integers(0, 9, array.shape).astype(array.dtype)
    array[...] = values
    return array, values


def reader_of(array, folder, threads=1, objects=None):
    shape = array.shape[1:]
    [group] = panel_groups([shape[-2:]] * (shape[0] if len(shape) == 3 else 1))
    return ShardReader(objects or Noted(folder), array, FrameArray(COUNTS, group), threads)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(50, 41), (2, 50, 41)])
@pytest.mark.parametrize("dtype", ["int32", "float32", "uint8"])
def test_all_frames_are_those_that_zarr_reads(shape, threads, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_reading, "THREADED_BYTES", 0)
    array, values = written(tmp_path, shape, dtype=dtype)
    found = reader_of(array, tmp_path, threads).read(range(FRAMES))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("frames", "slow", "fast"),
    [([0], (0, 1), (0, 1)), ([6, 2, 2], (19, 21), (10, 41)), ([5, 3], (3, 50), (0, 11)), ([1], (49, 50), (40, 41))],
)
def test_a_window_is_cut_out_of_each_frame_in_the_order_asked_for(frames, slow, fast, tmp_path):
    array, values = written(tmp_path)
    window = slice(*slow), slice(*fast)
    found = reader_of(array, tmp_path).read(frames, window)
    np.testing.assert_array_equal(found, values[frames][:, window[0], window[1]])


def test_only_chunks_under_a_window_are_read_and_those_near_each_other_in_one_piece(tmp_path, monkeypatch):
    array, _ = written(tmp_path)
    reader = reader_of(array, tmp_path)
    reader.read([0, 1], (slice(0, 40), slice(0, 22)))
    [(key, spans)] = reader._objects.read_in_spans
    assert (key, len(spans)) == ("counts/c/0/0/0", 1)
    monkeypatch.setattr(shard_reading, "JOINED_BYTES", -1)
    reader.read([1], (slice(25, 45), slice(12, 20)))
    [_, (_, spans)] = reader._objects.read_in_spans
    assert len(spans) == 2, "rows 25 to 45 of 20 a chunk, columns 12 to 20 of 11"
    assert not reader._objects.read_whole


def test_a_chunk_that_is_not_there_is_the_fill_value(tmp_path):
    array, values = written(tmp_path, config={"write_empty_chunks": False})
    array[1, :20, :11] = 113
    found = reader_of(array, tmp_path).read([0, 1])
    np.testing.assert_array_equal(found, array[:2])
    assert (found[1, :20, :11] == 113).all()
    np.testing.assert_array_equal(found[0], values[0])


def test_shards_that_are_held_are_read_once_and_whole(tmp_path):
    array, values = written(tmp_path)
    reader, objects = reader_of(array, tmp_path), Noted(tmp_path)
    reader._objects = objects
    reader.hold([0, 1])
    for frame in (0, 4, 2, 3):
        np.testing.assert_array_equal(reader.read([frame])[0], values[frame])
    assert objects.read_whole == ["counts/c/0/0/0", "counts/c/1/0/0"]
    reader.hold([1])
    reader.read([0, 5])
    assert objects.read_whole == ["counts/c/0/0/0", "counts/c/1/0/0"]
    assert [key for key, _ in objects.read_in_spans] == ["counts/c/0/0/0"]


def test_no_more_shards_are_held_than_there_is_room_for(tmp_path, monkeypatch):
    array, values = written(tmp_path)
    monkeypatch.setattr(shard_reading, "HELD_BYTES", 1)
    reader = reader_of(array, tmp_path)
    reader.hold([0, 1])
    for frame in (4, 0, 5, 1):
        np.testing.assert_array_equal(reader.read([frame])[0], values[frame])
    assert reader._objects.read_whole == ["counts/c/1/0/0"]
    assert [key for key, _ in reader._objects.read_in_spans] == ["counts/c/0/0/0"] * 2


def test_an_index_that_is_kept_is_read_again_where_the_shard_was_written_again(tmp_path, monkeypatch):
    array, values = written(tmp_path)
    monkeypatch.setattr(shard_reading, "is_url", lambda location: True)
    reader = reader_of(array, tmp_path)
    reader.read([0])
    reader.read([1])
    assert reader._objects.read_at_ends == ["counts/c/0/0/0"]
    values = values * 977 % 1001  # packs worse
    array[...] = values
    np.testing.assert_array_equal(reader.read([2])[0], values[2])
    assert reader._objects.read_at_ends == ["counts/c/0/0/0"] * 2


def test_a_shard_that_is_gone_or_damaged_is_named(tmp_path):
    array, _ = written(tmp_path)
    reader, shard = reader_of(array, tmp_path), tmp_path / "counts/c/1/0/0"
    whole = shard.read_bytes()
    for place in (100, len(whole) - 30):
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StoreError, match="counts/c/1/0/0 does not decode"):
            reader.read([3, 4, 5])
    for cut in (whole[:-7], whole[-200:], b""):
        shard.write_bytes(cut)
        with pytest.raises(StoreError, match="counts/c/1/0/0 does not decode"):
            reader.read([3, 4, 5])
    for offset, size in ((2**63, 100), (0, 2**40)):
        index = np.tile(np.array([offset, size], dtype="<u8"), (SHARD * 3 * 4, 1)).tobytes()
        shard.write_bytes(whole + index + google_crc32c.value(index).to_bytes(4, "little"))
        with pytest.raises(StoreError, match="its index is damaged"):
            reader.read([3])
    shard.unlink()
    with pytest.raises(StoreError, match="counts/c/1/0/0 is gone since the store was opened"):
        reader.read([3])


@pytest.mark.parametrize("options", [{"compressors": None}, {"shards": None}, {"serializer": BytesCodec(endian="big")}])
def test_an_array_that_is_packed_in_another_way_is_refused(options, tmp_path):
    array, _ = written(tmp_path, **options)
    with pytest.raises(StoreError, match="the shards of counts are packed in another way"):
        reader_of(array, tmp_path)
