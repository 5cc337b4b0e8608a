"""The script that compares finders, from recipes to tables and a picture, on next to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import dials_finder
import find_spots

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.workflows]


def settled(value: Any) -> Any:
    """The same with the upper end in place of each range, for the card has a picture of all that is drawn."""
    if isinstance(value, dict):
        ranges = [value[name][1] for name in ("uniform", "log_uniform") if name in value]
        return ranges[0] if ranges else {name: settled(its) for name, its in value.items()}
    return [settled(its) for its in value] if isinstance(value, list) else value


def small(recipe: Path, folder: Path) -> Path:
    """A recipe with four of its crystals and a detector of few pixels, of which little else is drawn."""
    content = settled(yaml.safe_load(recipe.read_text(encoding="utf-8")))
    content["let"]["crystal"]["choice"] = content["let"]["crystal"]["choice"][:4]
    panel = content["detector"]["panels"][0]
    panel |= {"spixels": 64, "fpixels": 64, "near_point_pixels": [8, 8]}
    panel.pop("modules", None)
    content["structure_factors"]["d_min_A"] = 4.0
    written = folder / recipe.name
    written.write_text(yaml.safe_dump(content), encoding="utf-8")
    return written


def test_the_script_goes_from_recipes_to_tables_and_a_picture(tmp_path, capsys):
    recipes = [small(find_spots.HERE / name, tmp_path) for name in ("seen.yaml", "unseen.yaml")]
    folder = tmp_path / "made"
    arguments = ["-o", folder, "--seen", recipes[0], "--unseen", recipes[1]]
    arguments += ["--samples", 12, "--test-samples", 3, "--steps", 2, "--workers", 0]
    grid = {name: settings[:1] for name, settings in dials_finder.grid().items()}
    status = find_spots.main([*map(str, arguments)], grid)
    printed = capsys.readouterr().out
    assert (folder / "spots.png").exists()
    assert (folder / "network.pt").exists()
    assert "to train on" in printed
    for name in ["network"] if dials_finder.missing() else ["network", *(f"DIALS, {its}" for its in grid)]:
        assert printed.count(f"\n{name:32}") == 3
        assert f"{name}, counting: " in printed
    assert status == ("MISSED" in printed)
