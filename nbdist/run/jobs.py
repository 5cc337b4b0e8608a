"""What is rendered: the units of a store into their shards, or the tiles of one image.

A job travels to each process that renders, once; there it is prepared, and then renders one unit after the other. A unit is known by its
number.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from nbdist.errors import StoreError, is_fatal, one_line
from nbdist.planning import PhiChunk, Tile, Unit
from nbdist.planning.plan import LARGEST_SHARD_BYTES
from nbdist.run.context import Context, Planned, RunContext
from nbdist.run.failures import ErrorLine
from nbdist.run.progress import Record
from nbdist.run.rendering import Photons, render_partial, render_unit
from nbdist.store import UnitWriter

FrameRenderer = Callable[[RunContext, int], Photons]
"""Renders the expected photons of a frame, given by its number in its series or sample."""
P = TypeVar("P", bound=Planned)
C = TypeVar("C", bound=Context)


@dataclass
class Job(abc.ABC, Generic[P]):
    """What the processes of a run do: what a store, an image and an export have in common.

    Attributes
    ----------
    context
        What is done, and its plan.
    """

    context: P

    @property
    def split(self) -> bool:
        """Whether a unit is rendered by several tasks."""
        return False

    @property
    def frames_per_unit(self) -> float:
        """Frames of a unit, or the share of a frame that it is."""
        return self.context.plan.settings.frames_per_shard

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make what is needed; called in the process that renders, before the first unit."""

    @property
    @abc.abstractmethod
    def kernel(self) -> dict[str, str]:
        """What computes here, made where it is first asked for: its `kernel`, and `why_eager` where it could not be compiled."""

    @abc.abstractmethod
    def require_usable(self, workers: int, error: ErrorLine) -> None:
        """See whether what a worker met, of so many, is so here, too; then it is the fault of what is written to, and the run's.

        Raises
        ------
        StoreError
            If the store is gone, or is another by now.
        OSError
            If it cannot be written.
        """

    @abc.abstractmethod
    def unit(self, number: int) -> Any:
        """The unit with this number."""

    @abc.abstractmethod
    def render(self, unit: Any) -> Record:
        """Render a unit; what is told of it."""


@dataclass
class RenderingJob(Job[C]):
    """What jobs have in common that render: the kernel of a backend."""

    @property
    def kernel(self) -> dict[str, str]:
        """The kernel of the backend."""
        backend = self.context.backend
        return {"kernel": backend.mode, "why_eager": backend.why_eager}


@dataclass
class StoreJob(RenderingJob[C]):
    """Renders units of a store, and writes their shards and records.

    Attributes
    ----------
    render_frame
        What renders a frame; the renderer of its scene where None.
    """

    render_frame: FrameRenderer | None = None
    _writer: UnitWriter | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def split(self) -> bool:
        """Whether a frame is rendered by several tasks."""
        return self.context.plan.split

    @property
    def writer(self) -> UnitWriter:
        """The writer of the store, opened where it is first asked for."""
        if self._writer is None:
            assert self.context.location is not None
            self._writer = UnitWriter(self.context.location, self.context.store_id)
        return self._writer

    def prepare(self) -> None:
        """Open the store."""
        _ = self.writer

    def require_usable(self, workers: int, error: ErrorLine) -> None:
        """See whether the store is there and can be written from here; has room for a shard a worker, where the disk was full there."""
        plan, location = self.context.plan, self.context.location
        assert location is not None
        shards = plan.cost.product_bytes * plan.settings.frames_per_shard * workers
        size = min(LARGEST_SHARD_BYTES, shards) if error.disk_full else 1
        try:
            UnitWriter(location, self.context.store_id).require_usable(size)
        except OSError as here:
            if is_fatal(here):
                raise
            raise StoreError(f"{location}: cannot be written: {one_line(here)}") from None

    def unit(self, number: int) -> Unit:
        """The unit with this number."""
        return self.context.plan.unit(number)

    def render(self, unit: Unit) -> Record:
        """Render a unit and write it; its record."""
        return render_unit(self.context, self.writer, unit, self.render_frame)


def piece_name(frame: int, tile: tuple[int, ...], chunk: tuple[int, ...]) -> str:
    """Name of one (tile, chunk) of a frame."""
    return " ".join(map(str, (frame, *tile, *chunk)))


class Piece(NamedTuple):
    """One tile of an image over one phi chunk."""

    number: int
    tile: Tile
    chunk: PhiChunk


@dataclass
class ImageJob(RenderingJob[RunContext]):
    """Renders frame 0 tile by tile; the partial intensities travel back, as `values` of the records."""

    @property
    def pieces(self) -> Sequence[Piece]:
        """All pieces, tile by tile and chunk by chunk."""
        pairs = ((tile, chunk) for tile in self.context.plan.tiles for chunk in self.context.plan.chunks)
        return [Piece(number, tile, chunk) for number, (tile, chunk) in enumerate(pairs)]

    @property
    def frames_per_unit(self) -> float:
        """The share of the frame that a piece is."""
        return 1 / len(self.pieces)

    def prepare(self) -> None:
        """Make the renderer: what is wrong with it is said before the first piece."""
        _ = self.context.renderer

    def require_usable(self, workers: int, error: ErrorLine) -> None:
        """Do nothing: as nothing is written, what a worker met is that worker's."""

    def unit(self, number: int) -> Piece:
        """The piece with this number."""
        return self.pieces[number]

    def render(self, unit: Piece) -> Record:
        """Render a piece."""
        return {"unit": unit.number, "values": render_partial(self.context, 0, unit.tile, unit.chunk)}
