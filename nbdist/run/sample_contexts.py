"""The samples of a data set in one process: each is rendered as a series of its own, and what several have alike is made once.

Samples with the same beam, detector, background and read-out share an instrument, with what computes its pixels, its backgrounds and its
calibration; lattices with the same amplitudes share these. Both are kept as far as they fit a fixed number of bytes, so a process takes
the same memory however many samples it renders.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nbdist.errors import DrawError, ExperimentError, NbdistError, RunError, is_fatal, one_line
from nbdist.experiment import Experiment
from nbdist.experiment.model import NOT_OF_AN_INSTRUMENT, file_digest
from nbdist.formats.text import version_of
from nbdist.frames.sample_products import products_of_samples
from nbdist.kernels.choice import eager_backend, make_backend
from nbdist.kernels.devices import pick_device
from nbdist.native.build import BuildError
from nbdist.planning import Cut, Plan, Settings, make_plan
from nbdist.planning.cost import instrument_bytes
from nbdist.readout.backgrounds import Backgrounds
from nbdist.readout.chain import Readout
from nbdist.run.context import RunContext, kernel_mode, planned, require_images
from nbdist.scene import Instrument, Scene, resolve
from nbdist.scene.amplitudes import KEPT_AMPLITUDE_BYTES, AmplitudeCache, distinct, follows_instrument, load_reflections
from nbdist.scene.notes import notes

if TYPE_CHECKING:
    from nbdist.experiment.recipe import Recipe
    from nbdist.frames.products import Product
    from nbdist.kernels.backend import Backend, KernelMode

KEPT_INSTRUMENT_BYTES = 256 * 2**20
"""What instruments keep at most, besides that of the sample in hand."""
KEPT_READOUTS = 4
"""Detectors whose calibration, bad pixels and masks are kept: where they stand does not matter to these."""


class SharedInstrument(NamedTuple):
    """An instrument, and what is made of it alone."""

    instrument: Instrument
    backend: Backend
    backgrounds: Backgrounds
    readout: Readout
    kept_bytes: int


@dataclass
class SampleContexts:
    """The context of a data set.

    Attributes
    ----------
    recipe
        What its samples are drawn from.
    plan
        How all frames of all samples are cut.
    digests
        Of the files that the recipe named when it was planned, those that could be read then.
    device, threads, location, store_id, notes
        As `Context` has them; the notes are those of the example.
    largest_tile
        How many pixels the device's memory holds at once, where less than a tile was found to fit.
    """

    recipe: Recipe
    plan: Plan
    digests: Mapping[Path, str]
    device: str
    location: str | None = None
    store_id: str | None = None
    notes: tuple[str, ...] = ()
    threads: int | None = None
    largest_tile: int | None = None

    def __post_init__(self) -> None:
        self._lock, self._gpu, self._here = threading.RLock(), threading.Lock(), threading.local()
        self._instruments: OrderedDict[str, SharedInstrument] = OrderedDict()
        self._readouts: OrderedDict[str, Readout] = OrderedDict()
        self._amplitudes = AmplitudeCache()
        self._versions: dict[Path, tuple[int, ...]] = {}  # of files that were looked at
        self._products: tuple[Product, ...] | None = None
        self._example: Backend | None = None
        self._compiles = True

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    @property
    def precision(self) -> str:
        """Precision of the arithmetic: "float32" or "float64"."""
        return self.recipe.example.sampling.precision

    @property
    def backend(self) -> Backend:
        """What computes here, of the example; its kernel is compiled where it is first asked for."""
        with self._lock:
            if self._example is None:
                example = resolve(self.recipe.example)
                integrated = example.method == "integrated"
                self._example = self._shared(example).backend if integrated else self._made(0).backend
            return self._example

    @property
    def turn(self) -> AbstractContextManager[object]:
        """Held while a thread computes: one at a time on a GPU, whose worker writes in its other thread; all at once on a CPU."""
        device = pick_device(self.device, self.recipe.example.sampling.method)
        return nullcontext() if device == "cpu" else self._gpu

    @contextlib.contextmanager
    def frame(self, number: int) -> Iterator[tuple[RunContext, int]]:
        """The sample of a frame of the store, and its number there.

        Raises
        ------
        RunError
            Naming the sample, where what is done within the block fails.
        DrawError
            Where the sample is no experiment.
        """
        sample, frame = divmod(number, self.recipe.frames_per_sample)
        try:
            yield self.of(sample), frame
        except Exception as error:
            if is_fatal(error) or isinstance(error, MemoryError) or str(error).startswith(f"sample {sample}:"):
                raise
            said = str(error) if isinstance(error, NbdistError) else f"{type(error).__name__}: {one_line(error)}"
            raise RunError(f"sample {sample}: {said}").with_traceback(error.__traceback__) from error

    def settings(self, cut: Cut) -> Settings:
        """What a cut would come to."""
        scene, samples = resolve(self.recipe.example), self.plan.frames // self.recipe.frames_per_sample
        return make_plan(scene, cut=cut, samples=samples, shapes=self.recipe.shapes).settings

    def forget(self) -> None:
        """Do nothing: amplitudes are the samples', and kept as far as they fit."""

    def of(self, sample: int) -> RunContext:
        """The context of a sample; a thread keeps that of its last one.

        Raises
        ------
        DrawError
            If it is no experiment, wherever and however often it is drawn.
        NbdistError
            If one of its files is missing or malformed.
        """
        last: RunContext | None = getattr(self._here, "context", None)
        if last is None or last.scene.sample != sample:
            if last is not None:
                self.largest_tile = last.largest_tile
            last = self._here.context = None  # freed before the next one is made
            last = self._here.context = self._made(sample)
        return last

    def _made(self, sample: int) -> RunContext:
        from nbdist.frames.renderer import Renderer

        draw = self.recipe.draw(sample)
        try:
            require_images(draw.experiment)
            scene = resolve(draw.experiment, sample=sample)
            shared = self._shared(scene)
            scene = replace(scene, instrument=shared.instrument)
            reflections = load_reflections(scene, self._amplitudes)
            self._require_files_of_the_plan(draw.experiment)
        except ExperimentError as error:  # as lasting as what cannot be drawn
            raise DrawError(f"sample {sample}: {error}") from None
        renderer = Renderer(scene, reflections, backend=shared.backend, backgrounds=shared.backgrounds)
        with self._lock:
            if self._products is None:
                self._products = products_of_samples(self.recipe)
            if renderer.backend.why_eager:
                self._compile_no_more()
        return RunContext(
            scene,
            self.plan.of_sample(scene),
            self.device,
            largest_tile=self.largest_tile,
            threads=self.threads,
            draw=draw,
            products=self._products,
            shapes=self.recipe.shapes,
            _renderer=renderer,
            _readout=shared.readout,
        )

    def _require_files_of_the_plan(self, experiment: Experiment) -> None:
        """Check that the files of a sample, which have just been read, hold what they held when the data set was planned.

        Raises
        ------
        RunError
            If one has changed since, or is another one on this machine.
        """
        for field, file in experiment.named_files().items():
            version = version_of(file, field)
            if self._versions.get(file) != version:
                if file_digest(field, file) != self.digests.get(file):
                    raise RunError(
                        f"{field}: {file} has changed since the run began, or is another file on this machine"
                    )
                self._versions[file] = version

    def _shared(self, scene: Scene) -> SharedInstrument:
        """The instrument of a scene, or an equal one that is kept."""
        key = _instrument_key(scene)
        with self._lock:
            found = self._instruments.pop(key, None)
            if found is None:
                mode = kernel_mode(self.plan.settings) if self._compiles else "eager"
                device = pick_device(self.device, scene.method)
                backend = self._backend(scene, device, mode)
                backgrounds = Backgrounds(scene.instrument, backend, interpolates=not self.recipe.one_instrument)
                readout = self._readout(scene)
                size = instrument_bytes(scene, mode) + readout.kept_bytes
                found = SharedInstrument(scene.instrument, backend, backgrounds, readout, size)
                kept = sum(its.kept_bytes for its in self._instruments.values())
                while self._instruments and kept + found.kept_bytes > KEPT_INSTRUMENT_BYTES:
                    kept -= self._instruments.popitem(last=False)[1].kept_bytes
            self._instruments[key] = found
            return found

    def _backend(self, scene: Scene, device: str, mode: KernelMode) -> Backend:
        """What computes an instrument, with what it compiles for all lattices alike."""
        backend = make_backend(scene.instrument, device, mode, self.threads)
        if scene.method == "integrated":
            try:
                backend.prepare_integrated()
            except BuildError as error:
                backend = eager_backend(scene.instrument, str(error))
        if backend.why_eager:
            self._compile_no_more()
        return backend

    def _compile_no_more(self) -> None:
        """Where a kernel could not be compiled, no other is tried, and nothing more is said."""
        if self._compiles:
            self._compiles = False
            self._instruments.clear()

    def _readout(self, scene: Scene) -> Readout:
        """The read-out of a scene, or of another one whose detector is the same but for its place."""
        key = _readout_key(scene)
        found = self._readouts.pop(key, None) or Readout(scene)
        while len(self._readouts) >= KEPT_READOUTS:
            self._readouts.popitem(last=False)
        self._readouts[key] = found
        return found


def _readout_key(scene: Scene) -> str:
    experiment = scene.experiment
    panels = [
        (panel.pixel_m, panel.shape, panel.region, hashlib.blake2b(panel.usable.tobytes()).hexdigest())
        for panel in scene.instrument.panels
    ]
    said = experiment.model_dump_json(include={"readout", "noise"})
    return f"{said} {experiment.beam.seconds_a_frame} {experiment.saturation_adu} {experiment.writes_counts} {panels}"


def _instrument_key(scene: Scene) -> str:
    experiment: Experiment = scene.experiment
    said = experiment.model_dump_json(exclude={*NOT_OF_AN_INSTRUMENT})
    return f"{scene.instrument.oversample} {experiment.scan.spindle_axis} {said}"


def sample_contexts(
    recipe: Recipe,
    samples: int,
    *,
    workers: int = 1,
    device: str = "cpu",
    kernel: str = "compiled",
    cut: Cut = Cut(),  # noqa: B008  (it is frozen)
    settings: Settings | None = None,
    location: str | None = None,
) -> SampleContexts:
    """Plan so many samples of a recipe, by its example; see `planning.make_plan` for the sizes.

    Raises
    ------
    NbdistError
        If the recipe, one of the files of its example, or a size is wrong.
    """
    if samples < 1:
        raise RunError(f"a data set of {samples} samples; at least 1")
    require_images(recipe.example)
    scene = resolve(recipe.example)
    readout, reflections = Readout(scene), load_reflections(scene)
    kept, others = 0, samples - 1
    if not recipe.one_instrument:
        pixels = sum(slow * fast for slow, fast in recipe.shapes)
        mode = kernel if settings is None else settings.kernel
        its = instrument_bytes(scene, mode, pixels) + readout.kept_bytes * pixels // scene.instrument.pixels
        kept += min(KEPT_INSTRUMENT_BYTES, others * its)
    followed = any(follows_instrument(lattice.structure_factors) for lattice in scene.specimen.lattices)
    if not recipe.one_crystal or (followed and not recipe.one_instrument):
        kept += min(KEPT_AMPLITUDE_BYTES, others * sum(its.nbytes for its in distinct(reflections)))
    plan = planned(
        scene,
        reflections,
        readout,
        products_of_samples(recipe),
        workers=workers,
        device=device,
        kernel=kernel,
        cut=cut,
        settings=settings,
        samples=samples,
        shapes=recipe.shapes,
        kept_bytes=kept,
    )
    said = tuple(notes(scene, reflections))
    return SampleContexts(recipe, plan, recipe.file_digests, device, location, notes=said)
