"""`nbdist nanobragg`: nanoBragg's command line, from flags to its files.

Nothing is written before everything has been rendered; what nbdist adds has two dashes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nbdist.cli.arguments import DeviceName, KernelName, Precision
from nbdist.cli.display import console, error_console, interactive
from nbdist.errors import NbdistError

if TYPE_CHECKING:
    from nbdist.experiment import Experiment
    from nbdist.nanobragg.flags import Simulation
    from nbdist.nanobragg.outputs import Outputs
    from nbdist.run.context import RunContext

HELP = ("-h", "-help", "--help")
OWN = {
    "--save-experiment": ("FILE.yaml", "write the experiment; nbdist run on it gives the same image"),
    "--device": ("auto|cpu|cuda", "where to render"),
    "--precision": ("float32|float64", "of the sum over orientations (default float32)"),
    "--kernel": ("compiled|eager", "compiled for this machine, or eager (slower, no compiler)"),
    "--workers": ("N", "local processes that share the image (default 1)"),
}
TRACE_FOLDER = "trace"


@dataclass(frozen=True)
class Own:
    """The options that nanoBragg does not have."""

    save: Path | None = None
    device: str = "auto"
    precision: str | None = None
    kernel: str = "compiled"
    workers: int = 1


def nanobragg(context: typer.Context) -> None:
    """Render one image from nanoBragg's command line; -h lists the flags."""
    words = list(context.args)
    if any(word in HELP for word in words):
        _help()
        return
    own, words = read_own(words)
    try:
        simulate(words, own, Path.cwd())
    except MemoryError:
        raise NbdistError("-detpixels -hkl: there is not enough memory for this image") from None


def read_own(words: Sequence[str]) -> tuple[Own, list[str]]:
    """Take the options with two dashes out of a command line; a flag of nanoBragg may have two dashes, too, and stays.

    Raises
    ------
    NbdistError
        Naming the option that is unknown or wrong.
    """
    from nbdist.nanobragg.table import TABLE

    rest, given = [], dict[str, str]()
    walk = iter(words)
    for word in walk:
        name, equals, value = word.partition("=")
        if not word.startswith("--") or (name not in OWN and any(flag.is_in(word) for flag in TABLE)):
            rest.append(word)
        elif name in OWN:
            found = value if equals else next(walk, None)
            if found is None:
                raise NbdistError(f"{name}: needs a value")
            given[name] = found
        elif name != "--debug":
            raise NbdistError(f"{name}: unknown option; those of nbdist nanobragg are {' '.join(OWN)}")
    for name, choices in (("--device", DeviceName), ("--precision", Precision), ("--kernel", KernelName)):
        if name in given and given[name] not in list(choices):
            raise NbdistError(f"{name}: expected {OWN[name][0].replace('|', ' or ')}, found {given[name]}")
    workers = given.get("--workers", "1")
    if not workers.isdecimal() or int(workers) < 1:
        raise NbdistError(f"--workers: expected a whole number above 0, found {workers}")
    save = Path(given["--save-experiment"]) if "--save-experiment" in given else None
    if save is not None and (save.is_dir() or not save.absolute().parent.is_dir()):
        raise NbdistError(f"--save-experiment: {save} cannot be written")
    return (
        Own(
            save,
            given.get("--device", "auto"),
            given.get("--precision"),
            given.get("--kernel", "compiled"),
            int(workers),
        ),
        rest,
    )


def simulate(words: Sequence[str], own: Own, folder: Path) -> None:
    """Render what a command line asks for, report it and write its files.

    Raises
    ------
    NbdistError
        In one line, naming the flag; nothing is written then.
    """
    from nbdist.kernels.devices import pick_device
    from nbdist.nanobragg.flags import named_by_flags, simulation_from_flags
    from nbdist.nanobragg.outputs import Outputs
    from nbdist.nanobragg.table import TABLE
    from nbdist.nanobragg.words import read_words
    from nbdist.run.single import single_context

    flags = read_words(words, TABLE)
    clock = int(time.time())
    flags.values.setdefault("misset_seed", flags.get("seed", clock))
    outputs = Outputs.of(flags, Path(), clock)
    outputs.require_other_than(own.save)
    simulation = simulation_from_flags(flags, folder)
    outputs.require_pixels(simulation.experiment.detector.shapes[0])
    experiment = simulation.experiment.with_changes(
        sampling={"precision": own.precision} if own.precision else {},
        noise={"photon_noise": outputs.noise_file is not None, "seed": outputs.seed},
    )
    device = pick_device(own.device)
    try:
        context = single_context(experiment, device, own.kernel)  # type: ignore[arg-type]
    except NbdistError as error:
        raise named_by_flags(error, flags, folder) from None
    _say_what(context, simulation, folder)
    _render_and_write(context, simulation, outputs, own)
    if outputs.trace_pixel is not None:
        from nbdist.cli.trace import trace_to

        precise = experiment.with_changes(sampling={"precision": own.precision or "float64"})
        options = {"frame": 0, "source": 0, "mosaic": None, "subpixels": False}
        trace_to(precise, outputs.trace_pixel, folder / TRACE_FOLDER, device, options)


def _say_what(context: RunContext, simulation: Simulation, folder: Path) -> None:
    from nbdist.nanobragg.report import departures, report, warnings

    scene = context.scene
    assert context.reflections is not None  # until the renderer takes them
    (reflections,) = context.reflections
    _print(report(simulation, scene, len(reflections.indices)))
    _print(f"WARNING: {text}" for text in warnings(simulation, scene, folder))
    _print(f"note: {text}" for text in departures(simulation, scene, reflections.indices))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, markup=False)


def _render_and_write(context: RunContext, simulation: Simulation, outputs: Outputs, own: Own) -> None:
    from nbdist.frames.products import COUNTS, INTENSITY
    from nbdist.nanobragg.outputs import Statistics, printed_pixels, rendered_files, write_all
    from nbdist.nanobragg.report import detector_solid_angle
    from nbdist.run.rendering import finished_frame
    from nbdist.run.single import render_image

    scene, experiment = context.scene, context.scene.experiment
    with _progress(outputs.progress) as report:
        products = finished_frame(context, 0, render_image(context, own.workers, report))
    (image,) = INTENSITY.of(products)
    (counts,) = COUNTS.of(products) if COUNTS.name in products else (None,)
    region = experiment.detector.region_of_interest
    where = (slice(*region.slow), slice(*region.fast)) if region else (slice(None), slice(None))
    statistics = Statistics.of(image, scene.instrument.panels[0].usable, where)
    rendered = rendered_files(simulation, scene, outputs, image, counts, statistics)
    files = dict(rendered.files)
    if own.save is not None:
        files[own.save] = _experiment_file(experiment, own.save)
    write_all(files)
    for fast, slow, value in printed_pixels(image, outputs, scene.instrument.panels[0].usable):
        _print((f"{fast:4d} {slow:4d} :", f"pixel   {value:15.10g}"))
    steradian = detector_solid_angle(scene)
    # nanoBragg's place of a pixel is its last subpixel's, in metres
    pixel_m, last = scene.instrument.panels[0].pixel_m, 1 - 0.5 / scene.instrument.oversample
    x, y = (pixel_m * (number + last) if statistics.largest > 0 else 0.0 for number in statistics.at)
    lines = [
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
    _print(lines)


def _experiment_file(experiment: Experiment, path: Path) -> bytes:
    from nbdist.experiment.files import experiment_to_yaml

    json = path.suffix.lower() == ".json"
    text = experiment.model_dump_json(indent=1) + "\n" if json else experiment_to_yaml(experiment)
    return text.encode()


@contextmanager
def _progress(wanted: bool) -> Iterator[Any]:
    """A bar where a person watches, and nothing elsewhere."""
    if not (wanted and interactive()):
        yield lambda done, total: None
        return
    from rich.progress import Progress

    with Progress(console=error_console, transient=True) as bar:
        task = bar.add_task("rendering")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _help() -> None:
    from nbdist.nanobragg.table import GROUPS

    _print(
        (
            "Usage: nbdist nanobragg FLAGS",
            "",
            "nanoBragg's flags, read left to right as nanoBragg reads them; later ones win. A flag is known by its beginning: -matrix is",
            "-mat, -height is -heigh. Words that no flag takes are passed over with a warning.",
        )
    )
    for group, flags in GROUPS.items():
        console.print(f"\n{group}", markup=False, style="bold")
        _print(f"  {' '.join((*flag.words, flag.values)):46} {flag.help}" for flag in flags)
    console.print("\nnbdist's own", markup=False, style="bold")
    _print(f"  {f'{name} {values}':46} {text}" for name, (values, text) in OWN.items())
