"""Recipes of small samples, for tests that render them."""

from __future__ import annotations

from typing import Any

from nbdist.experiment.recipe import Recipe, recipe_of

PANEL: dict[str, Any] = {"spixels": 96, "fpixels": 80, "pixel_size_mm": 0.8, "distance_mm": 100}
STILL: dict[str, Any] = {
    "recipe": {"seed": 7},
    "beam": {"wavelength_A": {"uniform": [0.95, 1.05]}, "fluence_photons_per_m2": 1e27},
    "crystal": {
        "cell": [40.0, 45.0, 50.0, 80.0, 95.0, 100.0],
        "misset_deg": {"rotation": "uniform"},
        "N_cells": [8, 7, 6],
        "shape": "gauss",
    },
    "scan": {"frames": 1, "osc_range_deg": 0.0},
    "detector": {"convention": "xds", "panels": [PANEL]},
    "structure_factors": {"kind": "wilson", "d_min_A": 2.5, "seed": {"integer": [1, 4]}},
    "sampling": {"method": "integrated"},
    "noise": {"photon_noise": True},
    "labels": {"spots": True, "spot": True, "bragg": True, "background": True},
    "background": {"level_photons": {"uniform": [0.5, 2.0]}},
}
OTHERS: dict[str, dict[str, Any]] = {
    "still": {},
    "wedge": {
        "scan": {"frames": 3, "osc_range_deg": 0.5},
        "beam": {**STILL["beam"], "exposure_jitter_sigma": 0.1, "flicker": {"sigma": 0.1}},
        "labels": {"spots": True, "reflections": True},
    },
    "two detectors": {
        "detector": {
            "convention": "xds",
            "panels": [{**PANEL, "spixels": {"choice": [96, 64]}, "fpixels": {"choice": [80, 90]}}],
        },
    },
    "lattices": {
        "crystal": None,
        "crystals": {"repeat": {"integer": [1, 3]}, "of": {**STILL["crystal"], "weight": {"uniform": [0.2, 1.0]}}},
    },
    "sum": {
        "crystal": {**STILL["crystal"], "mosaic_spread_deg": 0.5, "mosaic_domains": 3},
        "scan": {"frames": 2, "osc_range_deg": 0.5, "phi_steps": {"integer": [2, 4]}},
        "sampling": {"method": "sum", "oversample": 1},
    },
}


def recipe(name: str = "still", **sections: Any) -> Recipe:
    """Make the recipe of a name, with other sections in place of its own; None leaves one out."""
    content = {**STILL, **OTHERS[name], **sections}
    return recipe_of({section: its for section, its in content.items() if its is not None})
