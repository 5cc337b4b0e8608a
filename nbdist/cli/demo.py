"""`nbdist demo`: a whole run without an input file, in under a minute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbdist.cli.display import console
from nbdist.cli.workers import CpuWorkersOption
from nbdist.errors import MissingExtraError, NbdistError, one_line, require_extra
from nbdist.formats.text import user_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEMO: dict[str, Any] = {
    "title": "nbdist demo: tetragonal lysozyme",
    "beam": {
        "wavelength_A": 0.9768,
        "fluence_photons_per_m2": 1.2e26,
        "polarization_factor": 0.99,
        "bandwidth_sigma": 2e-4,
        "divergence_sigma_mrad": (0.2, 0.1),
    },
    "crystal": {
        "cell": (79.1, 79.1, 37.9, 90, 90, 90),
        "misset_deg": (14, -31, 52),
        "size_um": 0.1,
        "shape": "gauss",
        "mosaicity": {"sigma_deg": 0.2},
    },
    "scan": {"frames": 8, "osc_range_deg": 0.5},
    "detector": {
        "convention": "xds",
        "panels": [{"spixels": 800, "fpixels": 800, "pixel_size_mm": 0.258, "distance_mm": 170}],
    },
    "structure_factors": {"kind": "wilson", "d_min_A": 1.6, "mean_F2": 2e5, "seed": 1},
    "sampling": {"method": "integrated"},
    "background": {"water_um": 0.3},
    "noise": {"photon_noise": True, "seed": 1},
}
STOP_RADIUS_MM, HOLDER_WIDTH_MM = 6.0, 3.0
"""The beam stop's shadow, a disc around the beam, and that of its holder, which comes in from the left."""


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where to write.")] = Path("nbdist-demo"),
    workers: CpuWorkersOption = None,
) -> None:
    """Render a short lysozyme series, with noise, and draw it; needs no input."""
    import numpy as np

    from nbdist.cli.run import render
    from nbdist.cli.workers import Workers
    from nbdist.experiment import experiment_to_yaml, load_experiment, validate
    from nbdist.run.events import no_log
    from nbdist.run.settings import RunSettings
    from nbdist.run.subjects import SeriesSubject

    folder = user_path(folder)
    file, mask, store, sheet = (folder / name for name in ("demo.yaml", "beam_stop.npy", "demo.zarr", "demo.png"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(mask, _shadow(**DEMO["detector"]["panels"][0]))
        behind_the_stop = validate(DEMO).with_changes(detector={"mask_file": mask.name})
        file.write_text(experiment_to_yaml(behind_the_stop), encoding="utf-8")
    except OSError as error:
        raise NbdistError(f"{folder} cannot be written: {one_line(error)}") from None
    console.print(f"wrote {file} and {mask}")
    experiment = load_experiment(file)
    again = f"nbdist run {file} -o {store} --resume"
    render("demo", SeriesSubject(experiment), str(store), Workers(workers), RunSettings(overwrite=True), no_log, again)
    try:
        _draw(store, sheet)
        console.print(f"wrote {sheet}")
    except MissingExtraError as missing:
        console.print(f"note: {missing}")
    console.print(
        "next:\n"
        f"  nbdist info {store}\n"
        f"  nbdist preview {store} --maximum 0:8 -o maximum.png\n"
        f"  nbdist verify {store}\n"
        "  nbdist init -o lysozyme.yaml      # an experiment of your own\n"
        "  nbdist check lysozyme.yaml; nbdist plan lysozyme.yaml; nbdist run lysozyme.yaml -o lysozyme.zarr"
    )


def _shadow(spixels: int, fpixels: int, pixel_size_mm: float, **_: float) -> NDArray[np.bool_]:
    """Pixels (slow, fast) behind a beam stop in the middle of a panel."""
    import numpy as np

    slow = (np.arange(spixels) + 0.5 - spixels / 2)[:, None] * pixel_size_mm
    fast = (np.arange(fpixels) + 0.5 - fpixels / 2) * pixel_size_mm
    disc = np.hypot(slow, fast) <= STOP_RADIUS_MM
    return disc | ((np.abs(slow) <= HOLDER_WIDTH_MM / 2) & (fast < 0))


def _draw(store: Path, sheet: Path) -> None:
    """Draw all frames of a store side by side."""
    require_extra("pictures", "the contact sheet")
    from nbdist.formats.pictures import save
    from nbdist.run.preview import Preview, sheet_of

    preview = Preview(store)
    save(sheet_of(preview, range(preview.images.schema.frames)), sheet)
