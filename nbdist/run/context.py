"""What a process needs to render: the experiment's numbers and plan, and the renderer made of them once.

Amplitudes do not travel: a process reads them when it first renders, from the run's store where there is one, and holds them once, as
the table of its renderer. A data set has a context for each of its samples (see `sample_contexts`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nbdist.errors import ExperimentError
from nbdist.experiment import Experiment
from nbdist.frames.products import Product, products_of
from nbdist.kernels.devices import pick_device
from nbdist.kernels.diffuse import halo_bytes
from nbdist.kernels.spots import diffraction_bytes
from nbdist.planning import Cut, Plan, Settings, make_plan
from nbdist.readout.chain import Readout
from nbdist.scene import Scene, resolve
from nbdist.scene.amplitude_table import amplitude_bytes
from nbdist.scene.amplitudes import Reflections, distinct, load_reflections
from nbdist.scene.completeness import Completeness
from nbdist.scene.notes import file_completeness, notes
from nbdist.store.reflections import read_reflections

if TYPE_CHECKING:
    from nbdist.experiment.recipe import Draw
    from nbdist.frames.renderer import Renderer
    from nbdist.kernels.backend import Backend, KernelMode


class Planned(Protocol):
    """What travels to a worker, once, of any run, whether it renders frames or copies them.

    Attributes
    ----------
    plan
        How all frames are cut.
    device, threads
        Where to render, and threads of the native kernel, all usable cores where None.
    """

    plan: Plan
    device: str
    threads: int | None


class Context(Planned, Protocol):
    """All of a run that travels to a worker, once: of a series, which is its own, or of the samples of a data set.

    Attributes
    ----------
    location, store_id
        The store, and the random name that it got when it was made.
    notes
        What the experiment probably does not mean.
    """

    location: str | None
    store_id: str | None
    notes: tuple[str, ...]

    @property
    def precision(self) -> str:
        """Precision of the arithmetic: "float32" or "float64"."""

    @property
    def backend(self) -> Backend:
        """Backend that computes in this process."""

    @property
    def turn(self) -> AbstractContextManager[object]:
        """Held while a thread computes: one at a time on a GPU, whose worker writes in its other thread; all at once on a CPU."""

    def frame(self, number: int) -> AbstractContextManager[tuple[RunContext, int]]:
        """Whose frame one of the store is, and its number there; what is wrong with it within the block is said with whose it is."""

    def settings(self, cut: Cut) -> Settings:
        """What a cut would come to."""

    def forget(self) -> None:
        """Free what was read to make the plan, and is in the store now."""


@dataclass
class RunContext:
    """The context of a series, or of one sample; `renderer` is made where it is first asked for and not pickled.

    `notes` are what the experiment probably does not mean (see `scene.notes`). `largest_tile` is how many pixels the device's memory
    holds at once, where less than a tile was found to fit. `threads` are the native kernel's, all usable cores where None. `reflections`
    are those of each lattice that were read to make the plan, until the store or the renderer has taken them; they are not pickled.
    `held` is how complete files of amplitudes are. Of a sample, `draw` is what was drawn for it, `products` are those of its data set
    (None: those of the experiment), and `shapes` (slow, fast) those of the panels in whose images its own lie.
    """

    scene: Scene
    plan: Plan
    device: str
    location: str | None = None
    store_id: str | None = None
    largest_tile: int | None = None
    notes: tuple[str, ...] = ()
    threads: int | None = None
    reflections: tuple[Reflections, ...] | None = field(default=None, repr=False, compare=False)
    held: Mapping[str, Completeness] = field(default_factory=dict)
    draw: Draw | None = None
    products: tuple[Product, ...] | None = None
    shapes: tuple[tuple[int, int], ...] | None = None
    _renderer: Renderer | None = field(default=None, repr=False, compare=False)
    _readout: Readout | None = field(default=None, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _gpu: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "reflections": None, "_renderer": None, "_lock": None, "_gpu": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock, self._gpu = threading.Lock(), threading.Lock()

    @property
    def precision(self) -> str:
        """Precision of the arithmetic: "float32" or "float64"."""
        return self.scene.instrument.precision

    @property
    def backend(self) -> Backend:
        """Backend that computes in this process."""
        return self.renderer.backend

    @property
    def turn(self) -> AbstractContextManager[object]:
        """Held while a thread computes: one at a time on a GPU, whose worker writes in its other thread; all at once on a CPU."""
        return nullcontext() if self.backend.device == "cpu" else self._gpu

    def frame(self, number: int) -> AbstractContextManager[tuple[RunContext, int]]:
        """This context, and the same number: its frames are those of the store."""
        return nullcontext((self, number))

    def settings(self, cut: Cut) -> Settings:
        """What a cut would come to."""
        return make_plan(self.scene, cut=cut).settings

    def forget(self) -> None:
        """Free the amplitudes: they are in the store, where whoever renders finds them."""
        self.reflections = None

    @property
    def renderer(self) -> Renderer:
        """The renderer of this process."""
        from nbdist.frames.renderer import Renderer

        with self._lock:
            if self._renderer is None:
                mode = kernel_mode(self.plan.settings)
                device = pick_device(self.device, self.scene.method)
                self._renderer = Renderer(self.scene, self._amplitudes(), device, mode, self.threads)
                self.reflections = None
            return self._renderer

    @property
    def readout(self) -> Readout:
        """The read-out of this process."""
        with self._lock:
            if self._readout is None:
                self._readout = Readout(self.scene)
            return self._readout

    def _amplitudes(self) -> tuple[Reflections, ...]:
        if self.reflections is not None:
            return self.reflections
        return load_reflections(self.scene) if self.location is None else read_reflections(self.location)


def make_context(
    experiment: Experiment,
    *,
    workers: int = 1,
    device: str = "cpu",
    kernel: str = "compiled",
    cut: Cut = Cut(),  # noqa: B008  (it is frozen)
    settings: Settings | None = None,
    location: str | None = None,
) -> RunContext:
    """Resolve an experiment, load its amplitudes and plan it; see `planning.make_plan` for the sizes.

    Raises
    ------
    NbdistError
        If the experiment, one of its files, or a size is wrong.
    """
    require_images(experiment)
    scene = resolve(experiment)
    readout, reflections = Readout(scene), load_reflections(scene)
    plan = planned(
        scene,
        reflections,
        readout,
        products_of(experiment),
        workers=workers,
        device=device,
        kernel=kernel,
        cut=cut,
        settings=settings,
    )
    held = file_completeness(scene, reflections)
    said = tuple(notes(scene, reflections, held))
    return RunContext(scene, plan, device, location, reflections=reflections, held=held, notes=said, _readout=readout)


def require_images(experiment: Experiment) -> None:
    """Check that an experiment can be rendered.

    Raises
    ------
    ExperimentError
        If it asks for what only a trace has.
    """
    if experiment.scan.phi_zero_carryover:
        raise ExperimentError(
            "scan.phi_zero_carryover: reproduces a defect of nanoBragg.c for nbdist trace; an image cannot have it"
        )


def kernel_mode(settings: Settings) -> KernelMode:
    """How the kernel of a plan computes."""
    return "eager" if settings.kernel == "eager" else "compiled"


def planned(
    scene: Scene,
    reflections: Sequence[Reflections],
    readout: Readout,
    products: Sequence[Product],
    *,
    device: str,
    **asked: Any,
) -> Plan:
    """The plan of an experiment, with what its amplitudes and its read-out take of the memory; see `make_plan`."""
    experiment = scene.experiment
    held = sum(amplitude_bytes(its, experiment.sampling.precision) for its in distinct(reflections))
    if scene.method == "integrated" or experiment.labels.of_reflections:
        held += diffraction_bytes(scene, reflections)
    held += halo_bytes(scene, reflections)
    return make_plan(
        scene,
        products=products,
        device="cuda" if device == "cuda" else "cpu",
        amplitude_bytes=held,
        readout_bytes=(readout.kept_bytes, readout.thread_bytes),
        **asked,
    )
