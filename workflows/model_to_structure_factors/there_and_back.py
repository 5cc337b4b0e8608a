"""Images of an atomic model at the peak of an absorption edge and below it, and its structure factors back from DIALS.

python workflows/model_to_structure_factors/there_and_back.py [-o FOLDER] [--model FILE]

What comes back is compared with a sum over the model's atoms that is made here. Ends with status 1 where a number misses its limit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gemmi
import numpy as np
import yaml
from numpy.typing import NDArray

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "process_with_dials"))
from processing import Agreement, agreement, missing, process, run, say  # noqa: E402

D_MIN_A = 3.0
SIDES = {"peak": (12680.0, -7.0, 5.5), "below": (12630.0, -7.5, 0.5)}
"""Photon energy (eV), f' and f'' of selenium (electrons) at the peak of its edge, and below it."""
CELL, SPACE_GROUP = (57.0, 57.0, 40.0, 90.0, 90.0, 90.0), "P 43 21 2"
ATOMS, SELENIUM, CLOSEST_A = 300, 4, 2.0
"""Of the stand-in for a protein: light atoms and seleniums of the asymmetric unit, and how close any two may be."""


def write_stand_in(path: Path) -> None:
    """Write a PDB file of atoms at random places, some of them selenium, in P 43 21 2: with the statistics of a protein's F."""
    random = np.random.default_rng(5)
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(*CELL), SPACE_GROUP
    structure.setup_cell_images()
    elements = ["Se"] * SELENIUM + ["C", "C", "C", "N", "O"] * (ATOMS // 5)
    chain, placed = gemmi.Chain("A"), gemmi.Model(1)
    positions: list[gemmi.Position] = []
    while len(positions) < len(elements):
        new = structure.cell.orthogonalize(gemmi.Fractional(*random.random(3)))
        images = structure.cell.find_nearest_image(new, new, gemmi.Asu.Different).dist()
        if images > CLOSEST_A and all(
            structure.cell.find_nearest_image(old, new, gemmi.Asu.Any).dist() > CLOSEST_A for old in positions
        ):
            positions.append(new)
    for number, (element, position) in enumerate(zip(elements, positions, strict=True), start=1):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "UNK", gemmi.SeqId(str(number))
        atom.name, atom.element, atom.pos, atom.b_iso = (
            element,
            gemmi.Element(element),
            position,
            random.uniform(12, 25),
        )
        residue.add_atom(atom)
        chain.add_residue(residue)
    placed.add_chain(chain)
    structure.add_model(placed)
    structure.write_pdb(str(path))


def amplitudes_by_summation(
    path: Path, hkl: NDArray[np.int32], energy_eV: float, selenium: complex
) -> NDArray[np.float64]:
    """|F| (n,) of indices (n, 3): the sum of f exp(-B s^2) exp(2 pi i h.x) over all atoms of the cell, in electrons.

    f is that of International Tables (IT92), with f' + i f'' of Cromer and Liberman, of selenium as given.
    """
    structure = gemmi.read_structure(str(path))
    cell, operations = structure.cell, gemmi.find_spacegroup_by_name(structure.spacegroup_hm).operations()
    s2 = cell.calculate_1_d2_array(hkl) / 4
    total = np.zeros(len(hkl), dtype=np.complex128)
    for site in structure[0].all():
        atom = site.atom
        dispersion = complex(*gemmi.cromer_liberman(z=atom.element.atomic_number, energy=energy_eV))
        scattered = np.array([atom.element.it92.calculate_sf(value) for value in s2])
        scattered = scattered + (selenium if atom.element.name == "Se" else dispersion)
        places = [operation.apply_to_xyz(cell.fractionalize(atom.pos).tolist()) for operation in operations]
        phases = np.exp(2j * np.pi * hkl @ np.array(places).T).sum(axis=1)
        total += atom.occ * scattered * np.exp(-atom.b_iso * s2) * phases
    return np.abs(total)


def there_and_back(folder: Path, side: str) -> tuple[Agreement, Agreement]:
    """Render, export and process one side of the edge; how F(+) and F(-) agree with F_calc, and how their differences do."""
    energy_eV, f_prime, f_double_prime = SIDES[side]
    experiment = yaml.safe_load((HERE / "model.yaml").read_text(encoding="utf-8"))
    experiment["beam"]["energy_eV"] = energy_eV
    experiment["structure_factors"]["anomalous_scatterers"] = {
        "Se": {"f_prime_e": f_prime, "f_double_prime_e": f_double_prime}
    }
    (folder / f"{side}.yaml").write_text(yaml.safe_dump(experiment), encoding="utf-8")
    run(folder, "nbdist", "run", f"{side}.yaml", "-o", f"{side}.zarr", "--overwrite", "--serial")
    out = folder / f"{side}_cbf"
    run(folder, "nbdist", "export", f"{side}.zarr", "-o", out, "--format", "cbf", "--serial", "--overwrite")
    images = sorted(out.glob("*.cbf"))
    process(folder / f"dials_{side}", images, d_min_A=D_MIN_A, scaling=["anomalous=True"], report=say)
    mtz = gemmi.read_mtz_file(str(folder / f"dials_{side}" / "merged.mtz"))
    hkl = mtz.make_miller_array()
    plus, minus = (np.array(mtz.column_with_label(name).array, dtype=np.float64) for name in ("F(+)", "F(-)"))
    selenium = complex(f_prime, f_double_prime)
    mates = [amplitudes_by_summation(folder / "model.pdb", sign * hkl, energy_eV, selenium) for sign in (1, -1)]
    acentric = ~mtz.spacegroup.operations().centric_flag_array(hkl)
    return agreement(np.concatenate([plus, minus]), np.concatenate(mates)), agreement(
        np.where(acentric, plus - minus, np.nan), mates[0] - mates[1]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Both sides of the edge; 0 where all numbers are within their limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="folder to keep; a temporary one when left out")
    parser.add_argument("--model", type=Path, help="PDB file with selenium; a stand-in for a protein when left out")
    options = parser.parse_args(arguments)
    if missing():
        say(f"not run: {missing()}")
        return 0
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(2) as pool:
        folder = options.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.model is None:
            write_stand_in(folder / "model.pdb")
        else:
            (folder / "model.pdb").write_bytes(options.model.read_bytes())
        results = dict(zip(SIDES, pool.map(lambda side: there_and_back(folder, side), SIDES), strict=True))
    for side, (amplitudes, differences) in results.items():
        say(f"{side}: R of {amplitudes.reflections} F beside F_calc {100 * amplitudes.R:.2f} %, at most 2 %")
        say(f"{side}: correlation of F {amplitudes.correlation:.5f}, at least 0.998")
        if side == "peak":
            say(
                f"{side}: correlation of {differences.reflections} differences {differences.correlation:.4f}, at least 0.9"
            )
    good = all(amplitudes.R <= 0.02 and amplitudes.correlation >= 0.998 for amplitudes, _ in results.values())
    return 0 if good and results["peak"][1].correlation >= 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
