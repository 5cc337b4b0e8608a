"""The plan: which pieces make the series, who renders what, and what it will take.

A unit owns one shard, that is `frames_per_shard` consecutive frames. It normally renders them whole, in one task; where frames are few
and each is heavy, a frame is split into (tile, chunk) tasks whose partials meet in the task that owns the shard. Either way the
partials of a pixel are added in the order of the plan's chunks, so the bits depend on tile and chunk only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nbdist.errors import RunError
from nbdist.planning.cost import Cost, Memory, Pieces, Product, frame_cost, worker_memory
from nbdist.planning.cutting import PhiChunk, cut_phi, cut_tiles
from nbdist.planning.units import Unit, Units
from nbdist.scene.scene import Scene
from nbdist.scene.tile import Tile

DEFAULT_TILE = 1024
LARGEST_SHARD_BYTES = 128 * 2**20
UNIT_S = 2.0
"""What a unit should take, so that scheduling costs nothing."""
SPLIT_TASK_S = 10.0
"""A frame is split only into tasks of at least about this length ..."""
UNITS_PER_WORKER = 4
"""... and only where fewer whole frames than this are left for each worker."""
SAMPLE_S, SAMPLE_PIXEL_S = 0.03, 1.5e-7
"""What a sample takes besides its frames, and each of its pixels: drawing it, its lists, factors and background."""
LEAST_UNIT_S = 0.5
"""A unit of a data set is no shorter, however few samples are asked for at first: it may grow, and keeps the size of its shards."""


@dataclass(frozen=True)
class Cut:
    """How a series is cut; what is None is chosen from the cost, or kept by a store that goes on.

    Attributes
    ----------
    tile
        Rows and columns of a tile.
    phi_chunk
        Phi steps of a chunk.
    frames_per_shard
        Frames in one object of the store.
    """

    tile: tuple[int, int] | None = None
    phi_chunk: int | None = None
    frames_per_shard: int | None = None


@dataclass(frozen=True)
class Settings:
    """What decides the bits and the layout of a store besides the experiment; recorded in it and kept by every resume.

    Attributes
    ----------
    tile, phi_chunk, frames_per_shard
        What was chosen for a `Cut`.
    kernel
        "compiled" or "eager".
    """

    tile: tuple[int, int]
    phi_chunk: int
    frames_per_shard: int
    kernel: str = "compiled"

    def as_attributes(self) -> dict[str, Any]:
        """JSON form for the store's attributes."""
        return {**asdict(self), "tile": list(self.tile)}

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any]) -> Settings:
        """Back from `as_attributes`."""
        return cls(**{**attributes, "tile": tuple(attributes["tile"])})


@dataclass(frozen=True)
class Plan:
    """The whole series, or all samples of a data set, cut.

    Attributes
    ----------
    frames
        Frames of the series, or of all samples.
    tiles, chunks
        The cut of every frame; of a data set, of those of its example.
    settings
        Tile, chunk, shard and kernel.
    split
        Whether a frame is rendered by several tasks.
    cost
        Of one frame.
    memory
        Of a worker process: see `worker_memory_bytes`.
    """

    frames: int
    tiles: tuple[Tile, ...]
    chunks: tuple[PhiChunk, ...]
    settings: Settings
    split: bool
    cost: Cost
    memory: Memory

    @property
    def unit_count(self) -> int:
        """Units of the whole series."""
        return len(self.units())

    @property
    def tasks_per_frame(self) -> int:
        """Tasks that render one frame."""
        return len(self.tiles) * len(self.chunks) if self.split else 1

    def worker_memory_bytes(self, threads: int = 1) -> int:
        """Expected peak memory of a worker process in which so many threads render at once."""
        return self.memory.shared + threads * self.memory.per_thread

    def of_sample(self, scene: Scene) -> Plan:
        """The plan of one sample: its own frames, cut as all samples are."""
        tiles, chunks = _cut(scene, self.settings)
        return replace(self, frames=scene.experiment.scan.frames, tiles=tiles, chunks=chunks)

    def unit(self, number: int) -> Unit:
        """The unit with this number."""
        return self.units()[number]

    def units(self, frames: range | None = None) -> Units:
        """The units that hold any of `frames` (default: all), in order.

        Raises
        ------
        RunError
            If frames lie outside the series.
        """
        frames = range(self.frames) if frames is None else frames
        if len(frames) == 0 or frames.start < 0 or frames.stop > self.frames:
            raise RunError(f"frames {frames.start}:{frames.stop} lie outside the series of {self.frames} frames")
        size = self.settings.frames_per_shard
        return Units(self.frames, size)[frames.start // size : (frames.stop - 1) // size + 1]


def make_plan(
    scene: Scene,
    *,
    products: Sequence[Product] = (),
    workers: int = 1,
    device: str = "cpu",
    kernel: str = "compiled",
    cut: Cut = Cut(),
    settings: Settings | None = None,
    amplitude_bytes: int = 0,
    readout_bytes: tuple[int, int] = (0, 0),
    samples: int | None = None,
    shapes: Sequence[tuple[int, int]] | None = None,
    kept_bytes: int = 0,
) -> Plan:
    """Cut an experiment, or the samples of a data set, for a number of workers.

    Parameters
    ----------
    scene
        The experiment's numbers.
    products
        What a store is to hold of each frame, for the size and the memory expected.
    workers
        Processes that will render.
    device, kernel
        "cpu" or "cuda", "compiled" or "eager": they set the time expected.
    cut
        The user's choice.
    settings
        Those of an existing store, instead.
    amplitude_bytes
        Size of the amplitude table and of what it is made of, for the memory expected.
    readout_bytes
        What the read-out keeps, and what it needs of each thread besides the images of a frame.
    samples
        Samples of a data set, of which the experiment is an example: a unit holds whole samples, and no frame is split.
    shapes
        Rows and columns of the largest panels that the samples have; those of the experiment where left out.
    kept_bytes
        What a worker keeps at most of other samples than the one in hand.

    Raises
    ------
    RunError
        If a size is not at least 1, or a shard would hold parts of samples.
    """
    experiment, panels = scene.experiment, scene.instrument.panels
    shapes = scene.instrument.shapes if shapes is None else shapes
    if settings is not None:
        cut, kernel = Cut(settings.tile, settings.phi_chunk, settings.frames_per_shard), settings.kernel
    tile, phi_chunk, frames_per_shard = cut.tile, cut.phi_chunk, cut.frames_per_shard
    for name, value in (("tile", tile and min(tile)), ("phi chunk", phi_chunk), ("frames per shard", frames_per_shard)):
        if value is not None and value < 1:
            raise RunError(f"a {name} of {value} is too small; at least 1")
    regions = [Tile(number, *panel.region) for number, panel in enumerate(panels)]
    pixels = sum(slow * fast for slow, fast in shapes)
    largest = pixels / scene.instrument.pixels  # of the detectors of a data set, over that of the example
    rendered = round(largest * sum(region.pixels for region in regions))
    cost = frame_cost(scene, rendered, pixels, device, kernel, products)
    together, phi_steps = experiment.scan.frames, scene.phi_steps
    frames = together * (1 if samples is None else samples)
    if samples is not None:
        if (frames_per_shard or together) % together:
            raise RunError(
                f"frames per shard: {frames_per_shard} are not whole samples of {together} frames; a multiple of {together}"
            )
        cost = replace(cost, seconds=cost.seconds + (SAMPLE_S + SAMPLE_PIXEL_S * pixels) / together)
    split = (
        samples is None
        and cost.seconds > 2 * SPLIT_TASK_S
        and frames < UNITS_PER_WORKER * workers
        and workers > 1
        and frames_per_shard in (None, 1)
    )
    if frames_per_shard is None:
        least_s = 0.0 if samples is None else LEAST_UNIT_S
        frames_per_shard = 1 if split else _frames_per_shard(frames, workers, cost, pixels, least_s)
        if samples is not None:
            frames_per_shard = max(1, frames_per_shard // together) * together
    if split and tile is None and phi_chunk is None:
        tile, phi_chunk = _split_sizes(regions, phi_steps, frames, workers, cost)
    slow, fast = (max(sizes) for sizes in zip(*shapes, strict=True))
    if tile is None:  # a spot is worked out for each tile that it touches
        tile = (slow, fast) if scene.method == "integrated" else (DEFAULT_TILE, DEFAULT_TILE)
    tile = min(tile[0], slow), min(tile[1], fast)
    phi_chunk = min(phi_chunk or phi_steps, phi_steps)
    settings = Settings(tile, phi_chunk, frames_per_shard, kernel)
    tiles, chunks = _cut(scene, settings)
    pieces = Pieces(min(tile[0] * tile[1], rendered), phi_chunk, len(chunks), pixels, frames_per_shard, split)
    return Plan(
        frames=frames,
        tiles=tiles,
        chunks=chunks,
        settings=settings,
        split=split,
        cost=cost,
        memory=worker_memory(
            scene,
            pieces,
            amplitude_bytes,
            (round(largest * readout_bytes[0]), round(largest * readout_bytes[1])),
            device,
            kernel,
            products,
            None if samples is None else kept_bytes,
        ),
    )


def _cut(scene: Scene, settings: Settings) -> tuple[tuple[Tile, ...], tuple[PhiChunk, ...]]:
    regions = [Tile(number, *panel.region) for number, panel in enumerate(scene.instrument.panels)]
    return tuple(cut_tiles(regions, settings.tile)), tuple(cut_phi(scene.phi_steps, settings.phi_chunk))


def _frames_per_shard(frames: int, workers: int, cost: Cost, image_pixels: int, least_s: float) -> int:
    """Enough frames for a unit of seconds, few enough for every worker to have several units and for a shard to fit memory.

    A unit takes `least_s`, however many workers there are.
    """
    fit = LARGEST_SHARD_BYTES // (4 * image_pixels)
    least, lasting = (round(seconds / max(cost.seconds, 1e-9)) for seconds in (least_s, UNIT_S))
    shared = frames // (UNITS_PER_WORKER * workers)
    return max(1, min(fit, lasting, max(least, shared)))


def _split_sizes(
    regions: Sequence[Tile], phi_steps: int, frames: int, workers: int, cost: Cost
) -> tuple[tuple[int, int], int]:
    """Tile and chunk that make enough tasks of a heavy frame for every worker: smaller tiles first, then chunks of phi."""
    wanted = min(max(1, -(-UNITS_PER_WORKER * workers // frames)), max(1, int(cost.seconds / SPLIT_TASK_S)))
    side = DEFAULT_TILE
    while side > 256 and len(cut_tiles(regions, (side, side))) < wanted:
        side //= 2
    chunks = min(phi_steps, max(1, -(-wanted // len(cut_tiles(regions, (side, side))))))
    return (side, side), -(-phi_steps // chunks)
