"""How far X-rays get into the materials of sensors.

Mass attenuation coefficients are those of J. H. Hubbell and S. M. Seltzer, Tables of X-Ray Mass Attenuation Coefficients, NISTIR 5632
(National Institute of Standards and Technology, 1995): silicon of their table 3, cadmium telluride of table 4, between 1 and 200 keV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nbdist.experiment.beam import EV_ANGSTROM

Material = Literal["Si", "CdTe"]


@dataclass(frozen=True)
class Attenuation:
    """How a material attenuates X-rays, as a published table has it.

    Attributes
    ----------
    density_g_per_cm3
        Of the solid.
    coefficients_cm2_per_g
        Energies in keV, rising, each with the mass attenuation coefficient there. At an absorption edge an energy is there twice: below
        the edge, then above it.
    """

    density_g_per_cm3: float
    coefficients_cm2_per_g: tuple[tuple[float, float], ...]

    def depth_um(self, energy_eV: float) -> float:
        """Depth in which 1/e of the photons are left, micrometres; interpolated on logarithmic scales, at an edge the value above it.

        Raises
        ------
        ValueError
            If the table does not reach the energy.
        """
        table, energy_keV = self.coefficients_cm2_per_g, 1e-3 * energy_eV
        if not table[0][0] <= energy_keV < table[-1][0]:
            raise ValueError(
                f"attenuation is known from {table[0][0]:g} to {table[-1][0]:g} keV; found {energy_keV:.6g} keV"
            )
        above = next(place for place, (energy, _) in enumerate(table) if energy > energy_keV)
        (low, at_low), (high, at_high) = table[above - 1], table[above]
        share = math.log(energy_keV / low) / math.log(high / low)
        coefficient = math.exp((1 - share) * math.log(at_low) + share * math.log(at_high))
        return 1e4 / (coefficient * self.density_g_per_cm3)


ATTENUATION: dict[Material, Attenuation] = {
    "Si": Attenuation(
        2.33,
        (
            *((1.0, 1.570e3), (1.5, 5.355e2), (1.8389, 3.092e2), (1.8389, 3.192e3), (2.0, 2.777e3), (3.0, 9.784e2)),
            *((4.0, 4.529e2), (5.0, 2.450e2), (6.0, 1.470e2), (8.0, 6.468e1), (10.0, 3.389e1), (15.0, 1.034e1)),
            *((20.0, 4.464), (30.0, 1.436), (40.0, 7.012e-1), (50.0, 4.385e-1), (60.0, 3.207e-1), (80.0, 2.228e-1)),
            *((100.0, 1.835e-1), (150.0, 1.448e-1), (200.0, 1.275e-1)),
        ),
    ),
    "CdTe": Attenuation(
        5.85,
        (
            *((1.0, 7.927e3), (1.003, 7.875e3), (1.006, 7.824e3), (1.006, 8.014e3), (1.5, 3.291e3), (2.0, 1.664e3)),
            *((3.0, 6.146e2), (3.5375, 4.064e2), (3.5375, 7.787e2), (3.63101, 7.300e2), (3.727, 6.840e2)),
            *((3.727, 8.601e2), (4.0, 7.230e2), (4.018, 7.151e2), (4.018, 7.934e2), (4.17657, 7.221e2)),
            *((4.3414, 6.562e2), (4.3414, 9.328e2), (4.47465, 8.739e2), (4.612, 8.135e2), (4.612, 9.438e2)),
            *((4.7728, 8.702e2), (4.9392, 7.999e2), (4.9392, 8.653e2), (5.0, 8.392e2), (6.0, 5.286e2), (8.0, 2.492e2)),
            *((10.0, 1.381e2), (15.0, 4.657e1), (20.0, 2.144e1), (26.7112, 9.834), (26.7112, 2.943e1), (30.0, 2.182e1)),
            *((31.8138, 1.873e1), (31.8138, 3.492e1), (40.0, 1.930e1), (50.0, 1.067e1), (60.0, 6.542), (80.0, 3.019)),
            *((100.0, 1.671), (150.0, 6.071e-1), (200.0, 3.246e-1)),
        ),
    ),
}


def attenuation_depth_um(material: Material, wavelength_A: float) -> float:
    """Depth of a material in which 1/e of the photons of a wavelength are left, micrometres.

    Raises
    ------
    ValueError
        If the table of the material does not reach the wavelength.
    """
    try:
        return ATTENUATION[material].depth_um(EV_ANGSTROM / wavelength_A)
    except ValueError as error:
        raise ValueError(f"{material}: {error}") from None
