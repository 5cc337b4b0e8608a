"""`nbdist from-dials`, `from-xds`, `from-image`: an experiment file out of the files of another program."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbdist.cli.display import console
from nbdist.errors import NbdistError

if TYPE_CHECKING:
    from nbdist.formats.description import Description

Output = Annotated[Path, typer.Option("--output", "-o", help="Experiment file to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Reflections = Annotated[
    Path | None, typer.Option("--reflections", metavar="FILE", help="Amplitudes, for structure_factors of kind file.")
]
CrystalCell = Annotated[
    str | None, typer.Option("--cell", metavar="A,B,C,AL,BE,GA", help="Cell of the crystal, where the file has none.")
]
DEFAULT_OUTPUT = Path("experiment.yaml")


def from_dials(
    models: Annotated[
        Path, typer.Argument(metavar="MODELS", help="Models of DIALS: refined.expt, integrated.expt ...")
    ],
    output: Output = DEFAULT_OUTPUT,
    reflections: Reflections = None,
    number: Annotated[
        int | None,
        typer.Option(
            "--experiment", metavar="N", help="Which of several sweeps: number of an experiment of it, from 0."
        ),
    ] = None,
    cell: CrystalCell = None,
    overwrite: Overwrite = False,
) -> None:
    """Write an experiment file of models of DIALS."""
    from nbdist.formats.dials_models import read_dials_models
    from nbdist.formats.text import said_of, user_path

    with said_of(models):
        found = read_dials_models(user_path(models), number)
    _write(found, str(models), output, reflections, cell, overwrite)


def from_xds(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="GXPARM.XDS, XPARM.XDS, XDS.INP or INTEGRATE.HKL; a later one adds what is missing."
        ),
    ],
    output: Output = DEFAULT_OUTPUT,
    reflections: Reflections = None,
    cell: CrystalCell = None,
    overwrite: Overwrite = False,
) -> None:
    """Write an experiment file of files of XDS."""
    from nbdist.formats.text import said_of, user_path
    from nbdist.formats.xds import read_xds

    with said_of(files[0]):
        found = read_xds([user_path(path) for path in files])
    _write(found, " and ".join(map(str, files)), output, reflections, cell, overwrite)


def from_image(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="A master file of NXmx, or CBF or SMV images, all of a series."),
    ],
    output: Output = DEFAULT_OUTPUT,
    reflections: Reflections = None,
    cell: CrystalCell = None,
    overwrite: Overwrite = False,
) -> None:
    """Write an experiment file of what the headers of images say."""
    from nbdist.formats.image_headers import read_images
    from nbdist.formats.text import said_of, user_path

    others = f" and {len(files) - 1} more" if len(files) > 1 else ""
    with said_of(files[0]):
        found = read_images([user_path(path) for path in files])
    _write(found, f"{files[0]}{others}", output, reflections, cell, overwrite)


def _write(
    description: Description, source: str, output: Path, reflections: Path | None, cell: str | None, overwrite: bool
) -> None:
    """Write the experiment of a description, and say what is in it and what is not."""
    import tempfile
    from contextlib import ExitStack
    from dataclasses import replace
    from functools import partial

    import numpy as np

    from nbdist.errors import FileFormatError
    from nbdist.experiment import validate
    from nbdist.experiment.conversion import draft, remarks_of_cells
    from nbdist.formats.files import written_whole
    from nbdist.formats.merged import read_crystal
    from nbdist.formats.text import user_path
    from nbdist.scene import resolve
    from nbdist.scene.amplitudes import load_reflections

    output = user_path(output)
    if reflections is not None and not user_path(reflections).is_file():
        raise FileFormatError(f"--reflections: {reflections} does not exist")
    beside, named = None, None
    if reflections is not None:
        # ".." leads out of the folder that a link leads to, not out of that of the link
        folder = user_path(reflections).parent.resolve()
        beside = os.path.relpath(folder / reflections.name, output.parent.resolve())
        named, its_cell = read_crystal(user_path(reflections))
        if its_cell is not None:
            said = remarks_of_cells(description.models.crystals, its_cell, str(reflections))
            description = replace(description, remarks=(*description.remarks, *said))
        if not (its_cell is None or cell or description.cell or description.models.crystals):
            taken = f"crystal.cell: that of the reflections, {' '.join(f'{number:g}' for number in its_cell)}"
            description = replace(description, cell=its_cell, remarks=(*description.remarks, taken))
    drafts = partial(draft, description, space_group=named, cell=_cell(cell), stem=output.stem)
    drafted = drafts(reflections=beside)
    masks = {output.with_name(name): dead for name, dead in drafted.masks.items()}
    for path in (output, *masks):
        if path.exists() and not overwrite:
            raise NbdistError(f"{path} exists; --overwrite replaces it")
    with tempfile.TemporaryDirectory() as elsewhere:  # nothing is written beside what turns out to be wrong
        for name, dead in drafted.masks.items():
            np.save(Path(elsewhere, name), dead)
        there = None if reflections is None else str(user_path(reflections).absolute())
        experiment = validate(drafts(reflections=there).content, Path(elsewhere))
        scene = resolve(experiment)
        if reflections is not None:
            load_reflections(scene)  # a file that is none of amplitudes is known now
    with ExitStack() as written:  # the experiment is the last to be moved to its place
        written.enter_context(written_whole(output)).write(drafted.yaml(source).encode())
        for path, dead in masks.items():
            np.save(written.enter_context(written_whole(path)), dead)
    scan, shapes = experiment.scan, experiment.detector.shapes
    crystals = len(experiment.each_crystal)
    console.print(
        f"wrote {output}: {scan.frames} {'frame' if scan.frames == 1 else 'frames'} of {scan.osc_range_deg:g} degrees, "
        f"{len(shapes)} {'panel' if len(shapes) == 1 else 'panels'}, {crystals} {'crystal' if crystals == 1 else 'crystals'}"
    )
    for path in masks:
        console.print(f"wrote {path}")
    for remark in drafted.remarks:
        console.print(f"note: {remark}")
    console.print(f"next: nbdist check {output}; nbdist run {output} -o {output.stem}.zarr")


def _cell(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(map(float, text.replace(",", " ").split()))
    except ValueError:
        numbers = ()
    if len(numbers) != 6:
        raise NbdistError(f"--cell: expected a,b,c,alpha,beta,gamma (Angstrom, degrees), found '{text}'")
    return numbers
