"""Data sets: samples of a recipe rendered into a store, by the engine that makes a series, and one sample alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from nbdist.errors import RunError, StoreError
from nbdist.experiment import Experiment
from nbdist.frames.tables import Columns
from nbdist.kernels.devices import Device, pick_device
from nbdist.planning import Cut, Units
from nbdist.run.events import EventLog, no_log
from nbdist.run.executors.choice import chosen_workers
from nbdist.run.generate import fill_store
from nbdist.run.jobs import FrameRenderer, StoreJob
from nbdist.run.progress import Progress, Report, silent
from nbdist.run.rendering import finished_frame, render_frame
from nbdist.run.sample_contexts import SampleContexts, sample_contexts
from nbdist.run.settings import LocalProcesses, Pacing, RunSettings
from nbdist.run.subjects import require_same
from nbdist.store import DatasetContent
from nbdist.store.parts import Part
from nbdist.store.schema import DATASET, schema_of_samples
from nbdist.store.tables import Keys

if TYPE_CHECKING:
    from distributed import Client, Security

    from nbdist.experiment.recipe import Recipe
    from nbdist.run.executors.choice import OpensClient

KEPT_RECIPES = 2
_contexts: dict[tuple[str, str, str], SampleContexts] = {}
"""The contexts that were used last, by fingerprint, device and kernel: what samples share is not made again for the next call."""
_lock = threading.Lock()


@dataclass(frozen=True)
class DatasetSubject:
    """The samples of a recipe, as what a store is made of.

    Attributes
    ----------
    recipe
        What they are drawn from.
    samples
        How many there are; as many as the store has that is gone on with, where None.
    grows
        Whether a store that has fewer is made longer.
    render_frame
        What renders a frame; the renderer of its sample where None. It travels to the workers.
    """

    recipe: Recipe
    samples: int | None = None
    grows: bool = False
    render_frame: FrameRenderer | None = None

    @property
    def frames_per_sample(self) -> int:
        """Frames of each sample."""
        return self.recipe.frames_per_sample

    @property
    def method(self) -> str:
        """Method of the sampling, the same for all samples."""
        return self.recipe.example.sampling.method

    @property
    def provenance(self) -> Mapping[str, object]:
        """Empty: the recipe says it all."""
        return {}

    def as_stored(self, location: str, attributes: Mapping[str, Any]) -> Self:
        """This data set with the samples that it will have: those of the store, or more where it grows."""
        if attributes.get("kind") != DATASET:
            raise StoreError(f"{location} is a series; expected a data set of this recipe")
        require_same(location, attributes, self.recipe.fingerprint, "recipe")
        stored = int(attributes["samples"])
        samples = stored if self.samples is None else self.samples
        if samples < stored:
            raise StoreError(f"{location} has {stored} samples; it can grow to more, and not to {samples}")
        if samples > stored and not self.grows:
            raise StoreError(f"{location} has {stored} samples, and not {samples}; --grow {samples} makes it longer")
        return replace(self, samples=samples)

    def context(self, *, location: str, **asked: Any) -> SampleContexts:
        """Its recipe and its plan."""
        if self.grows and asked.get("settings") is None:
            raise StoreError(f"{location}: there is no data set of this recipe that could grow")
        if self.samples is None:
            raise RunError("samples: should be given for a new data set: how many there are to be")
        return sample_contexts(self.recipe, self.samples, location=location, **asked)

    def content(self, context: SampleContexts) -> DatasetContent:
        """Its recipe and its plan."""
        assert self.samples is not None, "the store or its maker has said it"
        return DatasetContent(self.recipe, self.samples, context.plan)

    def grow(self, location: str) -> None:
        """Make a store that has fewer samples longer."""
        if self.grows and self.samples is not None:
            from nbdist.store.growth import grow_store

            grow_store(location, self.samples)

    def ready(self, units: Units) -> Units:
        """All of the units: samples are rendered."""
        return units

    def require_ready(self, units: Units) -> None:
        """Do nothing: all units can be made."""

    def job(self, context: SampleContexts) -> StoreJob[SampleContexts]:
        """A job that renders."""
        return StoreJob(context, self.render_frame)


def generate_dataset(
    recipe: Recipe,
    location: str | os.PathLike[str],
    samples: int | None = None,
    client: Client | OpensClient | None = None,
    *,
    grow: bool = False,
    workers: int | None = None,
    gpus: str | None = None,
    security: Security | None = None,
    dashboard: bool = False,
    serial: bool = False,
    tile: tuple[int, int] | None = None,
    phi_chunk: int | None = None,
    frames_per_shard: int | None = None,
    device: Device = "auto",
    kernel: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    stuck_after: float = Pacing.stuck_after_s,
    part: Part | None = None,
    made_by: dict[str, Any] | None = None,
    report: Report = silent,
    log: EventLog = no_log,
) -> Progress:
    """Render the samples of a recipe, or what is missing of them, into a Zarr store.

    Sample i depends on the recipe with its seed, and on i, alone: however a set is cut, whoever renders it, and however long it is.

    Parameters
    ----------
    recipe
        What samples are drawn from; see `load_recipe`.
    location
        Path of the store, or s3://BUCKET/PATH.
    samples
        How many there are to be; needed for a new store alone.
    client
        As in `generate`.
    grow
        Go on with a store that has fewer samples, and make it longer.
    frames_per_shard
        Frames in one object of the store: a multiple of those of a sample; chosen from the cost where left out.
    workers, gpus, security, dashboard, serial, tile, phi_chunk, device, kernel, resume, overwrite, stuck_after, part, report, log
        As in `generate`.
    made_by
        What else to keep in the store's provenance: `recipe_file` and `options`, for the command that goes on.

    Returns
    -------
    The final progress, which counts samples: `done`, and units that failed.

    Raises
    ------
    NbdistError
        If the recipe is wrong, the store exists (or is of another recipe, or number of samples), another run writes into it, or it cannot
        be written.
    """
    settings = RunSettings(
        cut=Cut(tile, phi_chunk, frames_per_shard),
        kernel=kernel,
        device=device,
        part=part,
        resume=resume or grow,
        overwrite=overwrite,
        serial=serial,
        local=LocalProcesses(workers, gpus, security, dashboard),
        pacing=Pacing(stuck_after_s=stuck_after),
        made_by=made_by,
    )
    subject = DatasetSubject(recipe, samples, grow)
    workers_chosen = chosen_workers(settings, client, subject.method)
    return fill_store(subject, location, settings, workers_chosen, report=report, log=log)


@dataclass(frozen=True)
class Sample:
    """One sample of a recipe, rendered.

    Attributes
    ----------
    number
        Its number in every data set of the recipe.
    experiment
        What was drawn, as an experiment.
    values
        What was drawn, by the name of its column.
    crystal, split
        Which crystal it is of, and "train", "validation" or "test".
    images
        By the name of the array in a store: (frame, slow, fast), or (frame, panel, slow, fast) of panels that share one.
    tables
        Rows of each table of a store by column, first whose they are: `sample`, and `frame` in the sample.
    """

    number: int
    experiment: Experiment
    values: Mapping[str, float | int | str]
    crystal: str
    split: str
    images: Mapping[str, NDArray[Any]]
    tables: Mapping[str, Columns]

    def __repr__(self) -> str:
        """One line: arrays by their shapes, tables by their numbers of rows."""
        images = ", ".join(f"{name} {' x '.join(map(str, image.shape))}" for name, image in self.images.items())
        tables = ", ".join(f"{name} ({len(next(iter(its.values())))})" for name, its in self.tables.items())
        return f"<Sample {self.number}, {self.split}, crystal {self.crystal}: {images}; rows of {tables}>"


def sample(recipe: Recipe, number: int, *, device: Device = "auto", kernel: str = "compiled") -> Sample:
    """Render one sample of a recipe, the same anywhere: what a data set of it holds as sample `number`, or would hold.

    Parameters
    ----------
    recipe
        What it is drawn from; see `load_recipe`.
    number
        From 0 on.
    device, kernel
        Where to render, "auto", "cpu" or "cuda", and "compiled" or "eager".

    Returns
    -------
    Its experiment, what was drawn, its images by product, (frame, slow, fast) in the types of a store, and its tables by column.

    Raises
    ------
    NbdistError
        If the recipe, one of its files or what is drawn is wrong, naming the sample.
    """
    if number < 0:
        raise RunError(f"sample {number}: samples are counted from 0")
    contexts = kept_contexts(recipe, device, kernel)
    frames, draw = [], None
    with contexts.turn:
        for each in range(number * recipe.frames_per_sample, (number + 1) * recipe.frames_per_sample):
            with contexts.frame(each) as (its, frame):
                frames.append(finished_frame(its, frame, render_frame(its, frame)))
                draw = its.draw
    assert draw is not None, "a sample has frames"
    schema = schema_of_samples(recipe, number + 1, contexts.plan.settings)
    numbers, tables = range(number * recipe.frames_per_sample, (number + 1) * recipe.frames_per_sample), {}
    for table in schema.tables:
        rows = [table.rows(frame) for frame in frames]
        counts = [len(next(iter(its.values()))) for its in rows]
        keys = Keys(table.keys, recipe.frames_per_sample).columns(np.repeat(np.array(numbers), counts))
        columns = {its.name: np.concatenate([of_frame[its.name] for of_frame in rows]) for its in table.columns}
        tables[table.name] = dict(zip(table.keys, keys, strict=True)) | columns
    images = {array.name: array.stacked(array.of_frames(frames)) for array in schema.arrays}
    return Sample(number, draw.experiment, draw.values, draw.crystal, draw.split, images, tables)


def kept_contexts(recipe: Recipe, device: Device = "auto", kernel: str = "compiled") -> SampleContexts:
    """The contexts of a recipe, kept for the next call."""
    with _lock:
        key = (recipe.fingerprint, pick_device(device, recipe.example.sampling.method), kernel)
        contexts = _contexts.pop(key, None) or sample_contexts(recipe, 1, device=key[1], kernel=kernel)
        while len(_contexts) >= KEPT_RECIPES:
            del _contexts[next(iter(_contexts))]
        _contexts[key] = contexts
        return contexts
