"""The seeds that a recipe leaves out, so that no two samples share a random number, nor two data sets of different seeds.

Where random numbers have the sample in their counter already (photon noise, flicker and jitter), the seed is the recipe's. Where they are
made of a seed alone (mosaic domains, the texture of powders), each sample has another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SeedAt = Callable[[str], int]
"""A random word of the sample, by the path of the field."""


def with_seeds(content: dict[str, Any], seed: int, seed_at: SeedAt) -> dict[str, Any]:
    """Return the sections of an experiment with the seeds that they leave out; `seed` is the recipe's."""
    content, noise, beam = {**content}, content.get("noise", {}), content.get("beam")
    if isinstance(noise, dict):
        content["noise"] = {**noise, "seed": seed}
    if isinstance(beam, dict) and (beam.get("flicker") or beam.get("exposure_jitter_sigma")):
        flicker = beam.get("flicker", {})
        if isinstance(flicker, dict):
            content["beam"] = {**beam, "flicker": {"seed": seed, **flicker}}
    if "crystal" in content:
        content["crystal"] = _of_crystal(content["crystal"], "crystal", seed_at)
    if isinstance(content.get("crystals"), list):
        content["crystals"] = [
            _of_crystal(its, f"crystals.{number}", seed_at) for number, its in enumerate(content["crystals"])
        ]
    background = content.get("background")
    if isinstance(background, dict) and isinstance(background.get("powder"), list):
        powder = [
            _of_powder(its, f"background.powder.{number}", seed_at) for number, its in enumerate(background["powder"])
        ]
        content["background"] = {**background, "powder": powder}
    return content


def _of_crystal(its: Any, place: str, seed_at: SeedAt) -> Any:
    if not isinstance(its, dict):
        return its
    if isinstance(its.get("mosaicity"), dict):
        return {**its, "mosaicity": {"seed": seed_at(f"{place}.mosaicity.seed"), **its["mosaicity"]}}
    if its.get("mosaic_spread_deg"):  # nanoBragg's generator takes 1 to 2^31 - 2
        return {"mosaic_seed": 1 + seed_at(f"{place}.mosaic_seed") % (2**31 - 2), **its}
    return its


def _of_powder(its: Any, place: str, seed_at: SeedAt) -> Any:
    if isinstance(its, dict) and its.get("texture"):
        return {"texture_seed": seed_at(f"{place}.texture_seed"), **its}
    return its
