"""A DIALS project rendered again: of its models and merged amplitudes, reflections should come that are those that were measured.

python workflows/dials_project_again/again.py PROJECT [-o FOLDER]

PROJECT is a folder with scaled.expt, scaled.refl and merged.mtz, as `process_with_dials/prove.py -o FOLDER` leaves one in
FOLDER/dials_integrated_nxmx. Ends with status 1 where the series rendered again is another than the one that was processed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import nbdist

sys.path.insert(0, str(Path(__file__).parents[1] / "process_with_dials"))
from processing import INTEGRATED, WHOLE, Reflections, agreement, run, say

LIMITS = {"matched": 0.98, "places": 0.05, "correlation": 0.99}
"""Share of the reflections that are found again; rms pixels or frames between their places; correlation of intensities."""


def render_again(project: Path, folder: Path) -> Path:
    """Render a project's series again, with labels; the path of its store."""
    files = (project / "scaled.expt", "--reflections", project / "merged.mtz")
    say(run(folder, "nbdist", "from-dials", *files, "-o", "again.yaml", "--overwrite"))
    with (folder / "again.yaml").open("a", encoding="utf-8") as experiment:
        experiment.write("\nlabels: {reflections: true}\n")
    run(folder, "nbdist", "run", "again.yaml", "-o", "again.zarr", "--overwrite", "--serial")
    return folder / "again.zarr"


def main(arguments: Sequence[str] | None = None) -> int:
    """Render and compare; 0 where the reflections are those that were measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path, help="folder of the files of DIALS")
    parser.add_argument("-o", "--output", type=Path, help="folder to keep; a temporary one when left out")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        again = nbdist.open_reflections(str(render_again(options.project.resolve(), folder)))
        project = Reflections.read(options.project / "scaled.refl")
    index = again[["h", "k", "l"]].to_numpy().tolist()
    rows = {(*hkl, round(frame)): row for row, (hkl, frame) in enumerate(zip(index, again["frame"], strict=True))}
    whole = project.flagged(INTEGRATED) & (project.columns["partiality"] > WHOLE)
    columns = {name: values[whole] for name, values in project.columns.items()}
    frames = columns["xyzcal.px"][:, 2]
    match = np.array(
        [rows.get((*hkl, round(z)), -1) for hkl, z in zip(columns["miller_index"].tolist(), frames, strict=True)]
    )
    found = match >= 0
    places = again[["fast", "slow", "frame"]].to_numpy()[match[found]] - columns["xyzcal.px"][found]
    rms = np.sqrt(np.mean(places**2, axis=0))
    intensities = agreement(again["photons"].to_numpy()[match[found]], columns["intensity.prf.value"][found])
    say(f"{found.mean():.4f} of {len(found)} reflections are found again, at least {LIMITS['matched']}")
    say("places, rms: fast {:.4f}, slow {:.4f} pixels, {:.4f} frames, at most {}".format(*rms, LIMITS["places"]))
    say(f"correlation of intensities {intensities.correlation:.5f}, at least {LIMITS['correlation']}")
    good = found.mean() >= LIMITS["matched"] and rms.max() <= LIMITS["places"]
    return 0 if good and intensities.correlation >= LIMITS["correlation"] else 1


if __name__ == "__main__":
    sys.exit(main())
