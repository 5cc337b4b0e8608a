"""One image by nanoBragg's command line: understood, rendered, reported and written, all files at the end or none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbdist.errors import NbdistError
from nbdist.experiment import Experiment, experiment_to_yaml
from nbdist.frames.products import COUNTS, INTENSITY
from nbdist.kernels.devices import Device
from nbdist.nanobragg.fields import named_by_flags
from nbdist.nanobragg.flags import Simulation, simulation_from_flags
from nbdist.nanobragg.outputs import Outputs, Statistics, printed_pixels, rendered_files, write_all
from nbdist.nanobragg.report import departures, detector_solid_angle, dials_reading, report, warnings
from nbdist.nanobragg.table import TABLE
from nbdist.nanobragg.words import read_words
from nbdist.run.context import RunContext
from nbdist.run.rendering import finished_frame
from nbdist.run.single import render_image, single_context

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """Options of `nbdist nanobragg` that nanoBragg has no flags for.

    Attributes
    ----------
    experiment_file
        Where the experiment is written, YAML or JSON by its suffix; None: nowhere.
    device, kernel
        Where and how to render.
    precision
        Of the sum over orientations; the experiment's where left out.
    workers
        Local processes that share the image.
    """

    experiment_file: Path | None = None
    device: Device = "auto"
    precision: str | None = None
    kernel: str = "compiled"
    workers: int = 1


@dataclass(frozen=True)
class Command:
    """A command line that was understood, and whose files were read."""

    simulation: Simulation
    outputs: Outputs
    context: RunContext
    settings: Settings

    @property
    def experiment(self) -> Experiment:
        """What is rendered."""
        return self.context.scene.experiment

    @property
    def traced_experiment(self) -> Experiment:
        """What -trace_pixel takes apart: the same in double precision, unless another was asked for."""
        return self.experiment.with_changes(sampling={"precision": self.settings.precision or "float64"})

    def lines(self) -> Iterator[str]:
        """nanoBragg's lines on what is about to be rendered, and what a reader of the command line may not expect."""
        scene = self.context.scene
        assert self.context.reflections is not None  # until the renderer takes them
        (reflections,) = self.context.reflections
        yield from report(self.simulation, scene, len(reflections.indices))
        for text in warnings(self.simulation, scene, Path.cwd()):
            yield f"WARNING: {text}"
        for text in departures(self.simulation, scene, reflections.indices):
            yield f"note: {text}"

    def render(self, progress: Progress = lambda done, total: None) -> list[str]:
        """Render the image and write its files; nanoBragg's lines on them.

        Parameters
        ----------
        progress
            Called with (pieces done, all pieces).

        Raises
        ------
        NbdistError
            If a worker was lost or failed, or a file cannot be written; none is written then.
        """
        scene, outputs, saved = self.context.scene, self.outputs, self.settings.experiment_file
        instrument, panel = scene.instrument, scene.instrument.panels[0]
        products = finished_frame(self.context, 0, render_image(self.context, self.settings.workers, progress))
        (image,) = INTENSITY.images(products)
        (counts,) = COUNTS.images(products) if COUNTS.name in products else (None,)
        region = self.experiment.detector.region_of_interest
        where = (slice(*region.slow), slice(*region.fast)) if region else (slice(None), slice(None))
        statistics = Statistics.of(image, panel.usable, where)
        rendered = rendered_files(self.simulation, scene, outputs, image, counts, statistics)
        files = dict(rendered.files)
        if saved is not None:
            files[saved] = _experiment_text(self.experiment, saved).encode()
        write_all(files)
        lines = [
            f"{fast:4d} {slow:4d} :\npixel   {value:15.10g}"
            for fast, slow, value in printed_pixels(image, outputs, panel.usable)
        ]
        steradian = detector_solid_angle(scene)
        # nanoBragg's place of a pixel is its last subpixel's, in metres
        pixel_m, last = panel.pixel_m, 1 - 0.5 / instrument.oversample
        x, y = (pixel_m * (number + last) if statistics.largest > 0 else 0.0 for number in statistics.at)
        lines += [
            f"solid angle subtended by detector = {steradian:g} steradian ( {100 * steradian / (4 * math.pi):g}% sphere)",
            f"writing {outputs.float_file} as {image.size} 4-byte floats",
            f"max_I = {statistics.largest:g}  at {x:g} {y:g}",
            f"mean= {statistics.mean:g} rms= {statistics.rms:g} rmsd= {statistics.deviation:g}",
            f"intfile_scale = {rendered.scale:g}",
            f"writing {outputs.int_file} as 2-byte integers",
        ]
        if outputs.pgm_file is not None:
            lines += [f"pgm_scale = {rendered.pgm_scale:g}", f"writing {outputs.pgm_file} as 1-byte integers"]
        if outputs.noise_file is not None:
            lines += [
                f"  seed: {-outputs.seed}",
                f"{rendered.photons} photons on noise image ({rendered.overloads} overloads)",
                f"writing {outputs.noise_file} as 2-byte integers",
            ]
        return [*lines, *dials_reading(self.simulation, scene, outputs.noise_file or outputs.int_file, outputs.adc)]


def read_command(words: Sequence[str], settings: Settings) -> Command:
    """Understand a command line (without the program's name), and read the files that it names.

    Raises
    ------
    NbdistError
        In one line, naming the flag.
    """
    flags, clock, folder = read_words(words, TABLE), int(time.time()), Path.cwd()
    flags.values.setdefault("misset_seed", flags.get("seed", clock))
    outputs = Outputs.of(flags, Path(), clock)
    outputs.require_other_than(settings.experiment_file)
    simulation = simulation_from_flags(flags, folder)
    outputs.require_pixels(simulation.experiment.detector.shapes[0])
    experiment = simulation.experiment.with_changes(
        sampling={"precision": settings.precision} if settings.precision else {},
        noise={"photon_noise": outputs.noise_file is not None, "seed": outputs.seed},
    )
    try:
        context = single_context(experiment, settings.device, settings.kernel)
    except NbdistError as error:
        raise named_by_flags(error, flags, folder) from None
    return Command(simulation, outputs, context, settings)


def _experiment_text(experiment: Experiment, path: Path) -> str:
    json = path.suffix.lower() == ".json"
    return experiment.model_dump_json(indent=1) + "\n" if json else experiment_to_yaml(experiment)
