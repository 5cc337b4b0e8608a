"""`nbdist detectors`: the detectors that an experiment may name, and what is published of them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from nbdist.cli.completing import detector_names
from nbdist.cli.display import console, facts
from nbdist.cli.json_output import JsonOption, print_json
from nbdist.errors import NbdistError

if TYPE_CHECKING:
    from nbdist.experiment.named_detectors import NamedDetector


def detectors(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show this one in full.", autocompletion=detector_names)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the detectors that an experiment may name, with the sources of their figures."""
    from nbdist.experiment.named_detectors import NAMED_DETECTORS, named_detector

    chosen = list(NAMED_DETECTORS.values())
    if name is not None:
        try:
            chosen = [named_detector(name)]
        except ValueError as error:
            raise NbdistError(str(error)) from None
    print_json("detectors", detectors=[{**dataclasses.asdict(its), "shape": its.shape} for its in chosen])
    if name is None:
        _list(chosen)
    else:
        facts(_figures(chosen[0]), chosen[0].name)


COLUMNS = ("name", "slow x fast", "pixel, mm", "modules", "gaps", "sensor", "reads", "at most")


def _list(every: list[NamedDetector]) -> None:
    rows = [COLUMNS, *(_row(its) for its in every)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        console.print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    console.print("sources:")
    for source in dict.fromkeys(its.source for its in every):
        console.print(f"  {', '.join(its.name for its in every if its.source == source)}: {source}")


def _row(its: NamedDetector) -> tuple[str, ...]:
    return (
        its.name,
        "{} x {}".format(*its.shape),
        f"{its.pixel_mm * its.binning:.6g}",
        "{} x {}".format(*its.grid),
        "{}, {}".format(*its.gaps) if any(its.gaps) else "-",
        _sensor(its),
        "photons" if its.counts_photons else "charge",
        "-" if its.saturation is None else f"{its.saturation:,}",
    )


def _sensor(its: NamedDetector) -> str:
    return "phosphor" if its.thickness_um is None else f"{its.material}, {its.thickness_um:g} um"


def _figures(its: NamedDetector) -> list[tuple[str, str]]:
    joint, split = its.joint, its.split_sensor
    binned = ", ".join(f"{binning} ({its.pixel_mm * binning:.6g} mm)" for binning in its.binnings)
    return [
        ("maker", its.maker),
        ("image", "{} x {} pixels (slow x fast)".format(*its.shape)),
        ("pixel", f"{its.pixel_mm * its.binning:.6g} mm"),
        *([("binning", f"{its.binning}; may be {binned}")] if len(its.binnings) > 1 else []),
        ("modules", "{} x {} of {} x {} pixels".format(*its.grid, *its.module)),
        *([("gaps", "{} rows, {} columns".format(*its.gaps))] if any(its.gaps) else []),
        *([("split sensor", f"{split} dead columns in the middle of a module")] if split else []),
        *(
            [
                (
                    "joints",
                    f"chips of {joint.chip[0]} x {joint.chip[1]} pixels, {joint.pitches:g} pitches wide where they meet: "
                    f"{joint.virtual_lines} virtual line(s) at each joint",
                )
            ]
            if joint
            else []
        ),
        ("sensor", f"{_sensor(its)}" + (f", in {its.layers} layer(s)" if its.material else ", thin: no layers")),
        ("reads", "photons, counted" if its.counts_photons else "charge, integrated"),
        ("saturation", "not published" if its.saturation is None else f"{its.saturation:,}"),
        ("source", its.source),
    ]
