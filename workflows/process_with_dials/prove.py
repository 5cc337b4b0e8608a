"""A series processed by programs that were not written here, and what they found beside the truth.

python workflows/process_with_dials/prove.py [-o FOLDER] [--only nxmx,cbf,smv,sum,centroids,imaged11]

Ends with status 1 where a number misses what is asked of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import gemmi
import numpy as np
import yaml
from processing import (
    Found,
    Models,
    centroid_errors,
    compare,
    indexed_by_imaged11,
    misorientation_deg,
    missing,
    process,
    run,
    say,
    table_of,
)

import nbdist

HERE = Path(__file__).parent
D_MIN_A, CELL = 3.0, (79.1, 79.1, 37.9, 90.0, 90.0, 90.0)
SPACE_GROUPS = "P 41 21 2", "P 43 21 2"
"""That of the series, and its enantiomorph, which intensities do not tell from it."""
BRIGHT_PHOTONS = 500.0
"""Of reflections of which the centroids are compared."""
IMAGES = {"nxmx": "*_master.h5", "cbf": "*.cbf", "smv": "*.img"}
"""Names of the images of each format."""
METHODS = {"integrated": {}, "sum": {"scan": {"phi_steps": "auto"}, "sampling": {"oversample": 3}}}
"""What an experiment says of each method beside its name."""
MEASURES: Mapping[str, tuple[str, Callable[[Found], float], float]] = {
    "spots not indexed (%)": ("3", lambda found: 100 * (1 - found.indexed), 3.0),
    "misorientation (degrees)": ("0.002", lambda found: found.misorientation_deg, 0.002),
    "cell lengths, relative": ("1e-4", lambda found: found.cell_error, 1e-4),
    "origin of the detector (um)": ("20", lambda found: found.origin_error_um, 20.0),
    "R of merged F (%)": ("2", lambda found: 100 * found.amplitudes.R, 2.0),
    "1 - correlation of merged F": ("0.002", lambda found: 1 - found.amplitudes.correlation, 0.002),
}
"""What is measured, the most that it may be, as text and as a number."""
Line = tuple[str, str, float, float]


def render(folder: Path, method: str) -> Path:
    """The series rendered with a method; the path of its store."""
    experiment = yaml.safe_load((HERE / "series.yaml").read_text())
    experiment["sampling"]["method"] = method
    for section, fields in METHODS[method].items():
        experiment[section] |= fields
    (folder / f"{method}.yaml").write_text(yaml.safe_dump(experiment))
    run(folder, "nbdist", "run", f"{method}.yaml", "-o", f"{method}.zarr", "--overwrite", "--serial")
    return folder / f"{method}.zarr"


def exported(store: Path, format: str) -> Path:
    """The folder in which a series is exported to a format."""
    out = store.parent / f"{store.stem}_{format}"
    run(
        store.parent, "nbdist", "export", store, "-o", out, "--format", format,
        "--prefix", "series", "--serial", "--overwrite",
    )  # fmt: skip
    return out


def true_amplitudes(store: Path) -> dict[tuple[int, ...], float]:
    """Amplitudes of the reflections of a series, by index in the asymmetric unit."""
    reflections = nbdist.open_reflections(str(store), columns=["h", "k", "l", "F"])
    return table_of(reflections[["h", "k", "l"]].to_numpy(), reflections["F"].to_numpy(), gemmi.SpaceGroup("P 43 21 2"))


def processed(store: Path, images: Path, format: str) -> list[Line]:
    """Process what was exported and compare: what came out, and the most that it may be."""
    folder = store.parent / f"dials_{store.stem}_{format}"
    # without a sensor, the models' file says so and an NXmx file cannot: DIALS would correct for the absorption of a thin one
    told = [f"reference_geometry={images / 'series.expt'}"] if format == "nxmx" else []
    process(folder, images_of(images, format), importing=told, d_min_A=D_MIN_A, report=say)
    found = compare(folder, images / "series_truth.expt", true_amplitudes(store))
    what = f"{store.stem}, {format}"
    return [(f"{what}: {name}", most, measure(found), limit) for name, (most, measure, limit) in MEASURES.items()] + [
        (
            f"{what}: {found.space_group} is neither P 41 21 2 nor P 43 21 2",
            "0",
            found.space_group not in SPACE_GROUPS,
            0,
        )
    ]


def images_of(folder: Path, format: str) -> list[Path]:
    """The images of a format in a folder, as programs are told of them."""
    return sorted(folder.glob(IMAGES[format]))


def centroids(images: Path) -> list[Line]:
    """Places at which DIALS sees reflections that it integrates with the truth's models, beside those of the truth."""
    folder = images.parent / "dials_truth"
    folder.mkdir(exist_ok=True)
    model = "sigma_b=0.08", "sigma_m=0.23"  # as DIALS finds them of its own spots
    run(folder, "dials.integrate", images / "series_truth.expt", "nproc=1", f"prediction.d_min={D_MIN_A}", *model)
    errors = centroid_errors(folder / "integrated.refl", images / "series_truth.refl", BRIGHT_PHOTONS)
    rms = np.sqrt(np.mean(errors**2, axis=0))
    names = "fast (pixels)", "slow (pixels)", "frame (frames)"
    return [
        (f"centroids of {len(errors)} reflections, rms, {name}", "0.05", float(value), 0.05)
        for name, value in zip(names, rms, strict=True)
    ]


def by_imaged11(images: Path) -> list[Line]:
    """What ImageD11 finds in the images by itself."""
    truth = images / "series_truth.expt"
    share, axes_A = indexed_by_imaged11(images_of(images, "cbf"), CELL, truth)
    angle, cell_error = misorientation_deg(axes_A, Models.read(truth).axes_A)
    return [
        ("ImageD11: peaks not indexed (%)", "3", 100 * (1 - share), 3.0),
        ("ImageD11: misorientation (degrees)", "0.002", angle, 0.002),
        ("ImageD11: cell lengths, relative", "1e-4", cell_error, 1e-4),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove what is asked for; 0 where all numbers are within their limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="folder to keep; a temporary one when left out")
    parts = ("nxmx", "cbf", "smv", "sum", "centroids", "imaged11")
    parser.add_argument("--only", type=lambda text: text.split(","), default=parts, help=",".join(parts))
    options = parser.parse_args(arguments)
    if missing():
        say(f"not run: {missing()}")
        return 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(2) as pool:
        folder = options.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        jobs = []
        if "sum" in options.only:
            store = render(folder, "sum")
            jobs.append(pool.submit(processed, store, exported(store, "nxmx"), "nxmx"))
        store = render(folder, "integrated")
        images = {format: exported(store, format) for format in IMAGES}
        jobs += [pool.submit(processed, store, images[format], format) for format in IMAGES if format in options.only]
        if "centroids" in options.only:
            jobs.append(pool.submit(centroids, images["nxmx"]))
        if "imaged11" in options.only and find_spec("ImageD11") is None:
            say("not run: ImageD11 is not installed")
        elif "imaged11" in options.only:
            jobs.append(pool.submit(by_imaged11, images["cbf"]))
        lines = [line for job in jobs for line in job.result()]
    for name, most, value, _ in lines:
        say(f"{name:70} {value:10.3g}   at most {most}")
    missed = [name for name, _, value, limit in lines if not value <= limit]
    for name in missed:
        say(f"MISSED: {name}")
    say(f"{time.monotonic() - begun:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
