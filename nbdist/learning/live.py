"""Samples of a recipe that are rendered when they are first asked for, and kept in a store as a run keeps them.

What holds: an item is read from the store in any case, so it is the same to the bit whether it was there or not. A sample is a unit of
the store, which whoever renders it writes whole; two that render the same one write the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from nbdist.errors import StoreError
from nbdist.kernels.devices import Device
from nbdist.learning.frames import Selection
from nbdist.learning.wedges import SampleDataset
from nbdist.planning import Cut
from nbdist.run.datasets import DatasetSubject
from nbdist.run.jobs import StoreJob
from nbdist.run.opening import incomplete, opened
from nbdist.run.sample_contexts import SampleContexts
from nbdist.run.settings import RunSettings
from nbdist.store import StoredUnits, exists, open_group
from nbdist.store.number_set import NumberSet
from nbdist.store.parts import Part
from nbdist.store.places import normalised, objects_of
from nbdist.store.units import record_key

if TYPE_CHECKING:
    from nbdist.experiment.recipe import Recipe


class LiveDataset(SampleDataset):
    """Samples of a recipe, rendered by the processes that ask for them and kept in a store, which the next epoch reads.

    Keys are those of `SampleDataset`. The store is a data set of one sample a unit, as `nbdist dataset --frames-per-shard` makes it; it is
    made, or made longer, where it has to be. It can be left at any time, and `nbdist dataset --resume` completes it. Several live datasets
    may share a store, as those of training and validation do; while it is in use no run may write into it.

    Parameters
    ----------
    recipe
        What samples are drawn from; see `nbdist.load_recipe`.
    location
        Path or URL of the store.
    count
        How many samples there are, of which each is rendered when it is first asked for.
    device
        Where they are rendered: "cpu", "cuda", or "auto".
    products, tables, values, samples, split
        See `StoreDataset`; the split of a sample is drawn when the dataset is made.

    Raises
    ------
    NbdistError
        If the recipe is wrong, or the store is of another one, has units of several samples, or cannot be written.
    """

    def __init__(
        self,
        recipe: Recipe,
        location: str | os.PathLike[str],
        count: int,
        device: Device = "cpu",
        **selection: Unpack[Selection],
    ) -> None:
        distributed = torch.distributed
        part = None
        if distributed.is_available() and distributed.is_initialized():
            part = Part(distributed.get_rank() + 1, distributed.get_world_size())
        cut = Cut(frames_per_shard=recipe.frames_per_sample)
        settings = RunSettings(cut=cut, resume=True, part=part, sweep=False)
        subject = DatasetSubject(recipe, count, grows=exists(location))
        with opened(subject, normalised(location), settings, 1, device) as store:
            self._context: SampleContexts = store.context
            missing = store.units if part is None else incomplete(store.context, store.context.plan.units(), doubt=True)
            group = open_group(location)
            damaged = StoredUnits(group).recorded() & store.units.numbers
            for unit in damaged:  # without a record it is rendered once, by whoever comes to it first
                objects_of(group).delete(record_key(unit))
        self._at_work: tuple[int, StoreJob[SampleContexts], StoredUnits] | None = None
        chosen, split = selection.pop("samples", None), selection.pop("split", None)
        super().__init__(location, **selection)
        self._missing, self._seen = NumberSet(np.array(missing.numbers, dtype=np.int64) * self.length), set[int]()
        numbers: Sequence[int] = range(count) if chosen is None else chosen
        if len(numbers) and not (min(numbers) >= 0 and max(numbers) < count):
            raise StoreError(
                f"{self.location}: samples {min(numbers)} to {max(numbers)} lie outside the {count} there are"
            )
        if split is not None:
            self._require_split(recipe, split)
            numbers = [number for number in numbers if recipe.split_of(number) == split]
        firsts = np.array(numbers, dtype=np.int64)[:, None] * self.length
        self.frames = NumberSet((firsts + np.arange(self.length)).ravel())
        self._firsts = self._whole_wedges()

    def _require_split(self, recipe: Recipe, split: str) -> None:
        if split not in recipe.splits:
            raise StoreError(f"{self.location}: there is no split {split}; splits: {', '.join(recipe.splits)}")

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        first = self._firsts[index]
        if first in self._missing and first not in self._seen:
            self._complete(first // self.length)
            self._seen.add(first)
        return super().__getitem__(index)

    def _complete(self, sample: int) -> None:
        """Render a sample into the store, unless another process has done it meanwhile."""
        if self._at_work is None or self._at_work[0] != os.getpid():
            threads = None if get_worker_info() is None else 1
            job = StoreJob(replace(self._context, threads=threads))
            self._at_work = os.getpid(), job, StoredUnits(open_group(self.location))
        _, job, stored = self._at_work
        unit = job.unit(sample)
        if unit not in stored.complete_among([unit]):
            job.render(unit)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_at_work": None}
