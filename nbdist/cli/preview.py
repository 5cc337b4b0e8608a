"""`nbdist preview`: a picture of a frame, of several, or of what lies how far from the beam, of a series, a data set or a recipe."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbdist.cli.arguments import read_span
from nbdist.cli.completing import pixel_products
from nbdist.cli.display import console
from nbdist.cli.progress_display import Steps
from nbdist.errors import NbdistError, require_extra
from nbdist.formats.files import require_writable, written_whole
from nbdist.formats.text import user_path

if TYPE_CHECKING:
    from nbdist.run.shown import ShownImages

RECIPES = (".yaml", ".yml", ".json")
"""How the names of recipes end."""


class Scale(StrEnum):
    """How values become greys."""

    auto = "auto"
    linear = "linear"
    log = "log"


def preview(
    location: Annotated[
        str,
        typer.Argument(
            metavar="STORE", help="Zarr store of nbdist, or a recipe to render samples of.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.")] = Path("preview.png"),
    frame: Annotated[int, typer.Option("--frame", min=0, help="Frame to show, counted in its sample.")] = 0,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample", min=0, help="Sample of a data set, or of a recipe; the first by default.", show_default=False
        ),
    ] = None,
    maximum: Annotated[
        str | None,
        typer.Option(
            "--maximum", "--max-over", metavar="FIRST:LAST", help="Show the maximum over these frames instead."
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option("--mean", metavar="FIRST:LAST", help="Show the mean over these frames instead.")
    ] = None,
    sheet: Annotated[
        str | None,
        typer.Option(
            "--sheet",
            metavar="N|FIRST:LAST",
            help="Show N frames of all, or these, side by side instead; samples of a data set.",
        ),
    ] = None,
    radial: Annotated[
        bool,
        typer.Option("--radial", help="Show what pixels hold by resolution instead: mean, median and percentiles."),
    ] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the numbers of --radial, as CSV.")
    ] = None,
    what: Annotated[
        str | None,
        typer.Option(
            "--what",
            "--array",
            metavar="NAME",
            autocompletion=pixel_products,
            help="counts, intensity, bragg, background, spot ...; counts where the store has them, else intensity.",
        ),
    ] = None,
    panel: Annotated[int | None, typer.Option("--panel", min=0, help="Panel to show; all by default.")] = None,
    zoom: Annotated[
        str | None, typer.Option("--zoom", metavar="S0:S1,F0:F1", help="Rows and columns of a panel to show.")
    ] = None,
    scale: Annotated[
        Scale,
        typer.Option(
            "--scale",
            help="auto: logarithmic where the brightest pixel has more than 30 times the median of those above 0.",
        ),
    ] = Scale.auto,
    spots: Annotated[
        bool,
        typer.Option(
            "--spots",
            help="Circle the spots that are predicted, or labels of a data set; with resolution rings and the beam's centre.",
        ),
    ] = False,
    indices: Annotated[
        bool,
        typer.Option("--indices", help="Circle the spots as --spots does, and write h, k, l beside the brightest."),
    ] = False,
) -> None:
    """Write a picture of a frame, of the maximum or mean over several, a contact sheet, or a radial profile."""
    require_extra("pictures", "nbdist preview")
    for file in (output, csv):
        require_writable(file)
    marked = spots or indices
    _refuse_together({"--maximum": maximum, "--mean": mean, "--sheet": sheet})
    _refuse_together({"--maximum": maximum, "--sheet": sheet, "--radial": radial})
    for name, given in (("--spots", marked), ("--zoom", zoom is not None)):
        _refuse_together({name: given, "--sheet": sheet, "--radial": radial})
    if csv is not None and not radial:
        raise NbdistError("--csv goes with --radial: it writes its numbers")
    from nbdist.formats.pictures import save
    from nbdist.run.preview import MOST_INDICES, Preview, marks_of, picture_of, profile_of, sheet_of, spread_frames
    from nbdist.run.radial import radial_csv

    some = int(sheet) if sheet is not None and re.fullmatch(r"[1-9]\d*", sheet) else 0
    images = _images(location, sample, sheet, some)
    schema, together = images.schema, images.together
    if panel is None and (marked or zoom is not None):
        if len(schema.panels) > 1:
            raise NbdistError(f"{'--zoom' if zoom is not None else '--spots'}: shows one panel; --panel says which")
        panel = 0
    shown = None
    if zoom is not None and panel is not None and panel < len(schema.panels):
        shown = _zoom(zoom, *schema.panels[panel])
    preview = Preview(images, what, panel, shown)
    if frame >= together:
        raise NbdistError(f"--frame {frame}: lies outside 0:{together}")
    first = together * (sample or 0)
    over = maximum or mean
    wanted = range(frame, frame + 1)
    if over is not None:
        wanted = read_span(over, "--mean" if maximum is None else "--maximum", together)
    wanted = range(first + wanted.start, first + wanted.stop)

    with Steps("frames read") as steps:
        if sheet is not None:
            every = together if sample is None and schema.samples is not None else 1
            within = frame if every > 1 else 0
            if some:
                among = None if sample is None else range(first, first + together)
                frames = spread_frames(images, some, among, every, within)
            else:
                span = read_span(sheet, "--sheet", schema.frames // every if sample is None else together)
                frames = [first + number * every + within for number in span]
            figure = sheet_of(preview, frames, scale=scale.value, report=steps)
        elif radial:
            profile, figure = profile_of(preview, wanted, scale.value, steps)
            if csv is not None:
                with written_whole(user_path(csv)) as stream:
                    stream.write(radial_csv(profile).encode())
                console.print(f"wrote {csv}: {len(profile.d_A)} shells")
        else:
            images.require_complete(wanted)
            marks = marks_of(preview, wanted, MOST_INDICES if indices else 0) if marked else None
            if indices and marks is not None and len(marks.names) < len(marks.spots):
                console.print(
                    f"note: h, k, l are written at the {len(marks.names)} brightest of {len(marks.spots):,} spots, where there is room; "
                    "--zoom shows fewer"
                )
            figure = picture_of(preview, wanted, mean=mean is not None, scale=scale.value, marks=marks, report=steps)
    save(figure, output)
    console.print(f"wrote {output}")


def _images(location: str, sample: int | None, sheet: str | None, some: int) -> ShownImages:
    """What is shown: the images of a store, or of as many samples of a recipe as are asked for."""
    from nbdist.experiment.files import is_recipe
    from nbdist.run.shown import RenderedSamples, shown_images
    from nbdist.store import summarize

    path = user_path(location)
    if path.suffix in RECIPES and path.is_file():
        if not is_recipe(path):
            raise NbdistError(
                f"{path} is an experiment; a store is expected, or a recipe: a file with the section recipe"
            )
        from nbdist.experiment.recipe import load_recipe

        last = re.fullmatch(r"\d*:?(\d+)", sheet or "")
        samples = (
            (sample or 0) + 1 if sample is not None or sheet is None else some or max(1, int(last[1]) if last else 1)
        )
        return RenderedSamples(load_recipe(path), samples)
    images = shown_images(summarize(location))
    if sample is not None and images.schema.samples is None:
        raise NbdistError(f"--sample {sample}: the store is a series, which has no samples")
    if sample is not None and sample >= (images.schema.samples or 0):
        raise NbdistError(f"--sample {sample}: lies outside 0:{images.schema.samples}")
    return images


def _refuse_together(options: dict[str, object]) -> None:
    given = [name for name, value in options.items() if value]
    if len(given) > 1:
        raise NbdistError(f"{' and '.join(given)} exclude each other")


def _zoom(text: str, slow: int, fast: int) -> tuple[range, range]:
    parts = text.split(",")
    if len(parts) != 2:
        raise NbdistError(f"--zoom {text}: expected S0:S1,F0:F1")
    return read_span(parts[0], "--zoom", slow), read_span(parts[1], "--zoom", fast)
