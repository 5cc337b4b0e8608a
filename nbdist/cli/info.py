"""`nbdist info`: what a store holds, how far it is, and how it was made."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from nbdist.cli.arguments import StoreLocation
from nbdist.cli.display import console, facts
from nbdist.cli.json_output import JsonOption, print_json
from nbdist.formats.amounts import duration, panels_row, size

if TYPE_CHECKING:
    from nbdist.store import StoreSummary

FAILED_SHOWN = 10
"""Units that failed, at most."""
FAILED_IN_JSON = 10_000
"""The same with `--json`."""


def info(location: StoreLocation, as_json: JsonOption = False) -> None:
    """Show what a store holds, how far it is, and how it was made."""
    from nbdist.store import summarize

    summary = summarize(location)
    facts(_holds(summary), f"{location}" + (f": {summary.title}" if summary.title else ""))
    facts(_made(summary), "made")
    if not summary.found.finished:
        print_commands_to_go_on(summary)
    print_json("info", store=location, **_numbers(summary))


def _numbers(summary: StoreSummary) -> dict[str, object]:
    from nbdist.store import DatasetSummary, SeriesSummary
    from nbdist.store.creation import PHOTONS_OF
    from nbdist.store.parts import commands_to_go_on

    schema, settings, finished = summary.schema, summary.settings, summary.found.finished
    products = (
        *((array.name, array.product.dtype) for array in schema.arrays),
        *((its.name, its.dtype) for its in schema.maps),
    )
    numbers: dict[str, object] = {
        "kind": "data set" if isinstance(summary, DatasetSummary) else "series",
        "title": summary.title,
        "fingerprint": summary.fingerprint,
        "finished": bool(finished),
        "frames": summary.frames,
        "frames_complete": summary.frames_complete,
        "units": len(summary.units),
        "units_complete": len(summary.complete),
        "units_failed": dict(islice(summary.failed, FAILED_IN_JSON)),
        "panels_slow_fast_pixels": schema.panels,
        "arrays": dict(products),
        "tables": [table.name for table in schema.all_tables],
        "shard_bytes": summary.found.shard_bytes,
        "rendering_seconds_by_device": summary.found.seconds,
        "tile_slow_fast_pixels": settings.tile,
        "phi_chunk_steps": settings.phi_chunk,
        "frames_per_shard": settings.frames_per_shard,
        "photons_of": summary.provenance.get(PHOTONS_OF),
        "created": summary.provenance["created"],
        "versions": summary.provenance["versions"],
        "python": summary.provenance["python"],
        "machine": summary.provenance["machine"],
        "go_on": [] if finished else commands_to_go_on(summary, summary.found.missing),
    }
    if isinstance(summary, DatasetSummary):
        together = summary.frames_per_sample
        return numbers | {
            "samples": summary.samples,
            "samples_complete": summary.frames_complete // together,
            "frames_per_sample": together,
            "seed": summary.seed,
            "drawn": summary.drawn,
        }
    assert isinstance(summary, SeriesSummary)
    scan = summary.experiment.scan
    return numbers | {
        "steps": summary.steps,
        "reflections": summary.reflections,
        "phi_start_deg": scan.phi_start_deg,
        "phi_end_deg": scan.frame_start_deg(scan.frames),
        "osc_range_deg": scan.osc_range_deg,
    }


def print_commands_to_go_on(summary: StoreSummary) -> None:
    """Print the command that renders what is missing of a store, or those for the parts that are."""
    from nbdist.cli.finish import print_lines
    from nbdist.store.parts import commands_to_go_on

    first, *more = commands_to_go_on(summary, summary.found.missing)
    if not more and first.endswith("--resume"):
        console.print(f"unfinished; go on with: {first}")
        return
    console.print("unfinished; go on with:")
    print_lines([first, *more])
    console.print(f"and then: nbdist finish {summary.location}")


def _holds(summary: StoreSummary) -> list[tuple[str, str]]:
    schema = summary.schema
    arrays = [f"{array.name} {array.product.dtype}" for array in schema.arrays]
    arrays += [f"{product.name} {product.dtype}" for product in schema.maps]
    failed = list(islice(summary.failed, FAILED_SHOWN + 1))
    rows = [
        _complete(summary),
        panels_row(schema.panels),
        ("arrays", ", ".join(arrays)),
        *((("tables", ", ".join(table.name for table in schema.all_tables)),) if schema.all_tables else ()),
        *_known(summary),
        ("size", size(summary.found.shard_bytes)),
    ]
    rows += [("failed", f"unit {unit}: {error}") for unit, error in failed[:FAILED_SHOWN]]
    return rows + [("", "and more")] * (len(failed) > FAILED_SHOWN)


def _complete(summary: StoreSummary) -> tuple[str, str]:
    together, units = summary.schema.frames_per_sample, f"{len(summary.complete)} of {len(summary.units)} units"
    if together is None:
        return "frames", f"{summary.frames_complete} of {summary.frames} complete, {units}"
    each = "1 frame each" if together == 1 else f"{together} frames each"
    done, of = summary.frames_complete // together, summary.frames // together
    return "samples", f"{done} of {of} complete, {each}, {units}"


def _known(summary: StoreSummary) -> list[tuple[str, str]]:
    """What is known beforehand of a series, and what is drawn for a data set."""
    from nbdist.store import DatasetSummary, SeriesSummary

    if isinstance(summary, DatasetSummary):
        fields = dict.fromkeys(re.sub(r"(\.\d+)+$", "", name) for name in summary.drawn)  # of a list, once
        return [("drawn", ", ".join(fields) or "nothing"), ("seed", str(summary.seed))]
    assert isinstance(summary, SeriesSummary)
    scan, listed = summary.experiment.scan, summary.reflections
    return [
        ("amplitudes", f"{listed:,} reflections" if listed else "one for all reflections"),
        ("phi", f"{scan.phi_start_deg:g} to {scan.frame_start_deg(scan.frames):g} deg, {scan.osc_range_deg:g} a frame"),
    ]


def _made(summary: StoreSummary) -> list[tuple[str, str]]:
    from nbdist.store import SeriesSummary
    from nbdist.store.creation import PHOTONS_OF

    settings, provenance = summary.settings, summary.provenance
    seconds = summary.found.seconds
    spent = ", ".join(f"{duration(total)} {where}" for where, total in seconds.items()) or "nothing yet"
    versions = ", ".join(f"{name} {number}" for name, number in provenance["versions"].items())
    return [
        ("fingerprint", summary.fingerprint[:16]),
        *_photons_of(provenance.get(PHOTONS_OF)),
        *([("steps", str(summary.steps))] if isinstance(summary, SeriesSummary) else []),
        (
            "cut",
            f"tile {settings.tile[0]} x {settings.tile[1]}, phi chunk {settings.phi_chunk}, {settings.frames_per_shard} frame(s) a shard",
        ),
        ("rendered in", spent),
        ("created", provenance["created"]),
        ("with", f"{versions}, Python {provenance['python']} on {provenance['machine']}"),
    ]


def _photons_of(source: dict[str, Any] | None) -> list[tuple[str, str]]:
    if source is None:
        return []
    scaled = "" if source["exposure_ratio"] == 1 else f", times {source['exposure_ratio']:.6g}"
    return [("photons of", f"{source['location']}{scaled} (fingerprint {source['fingerprint'][:16]})")]
