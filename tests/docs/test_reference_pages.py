"""Reference pages are made of the code: nothing that it has is left out, and nothing in it becomes markup."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import typer
from packaging.version import Version

from nbdist.cli.main import app
from nbdist.experiment import experiment_schema
from nbdist.experiment.recipe.content import RecipeSection
from nbdist.frames.products import PRODUCTS
from nbdist.nanobragg.table import TABLE

if Version(typer.__version__) < Version("0.29"):
    pytest.skip("the site is built with newer versions: see the extra docs", allow_module_level=True)

spec = importlib.util.spec_from_file_location(
    "site_reference", Path(__file__).parents[2] / "docs" / "_extensions" / "reference.py"
)
reference = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = reference
spec.loader.exec_module(reference)


def _rows(markdown: str) -> list[list[str]]:
    """Cells of all tables."""
    return [re.split(r"(?<!\\) \| ", line[2:-2]) for line in markdown.splitlines() if line.startswith("| ")]


def test_every_command_and_option_has_a_line():
    page = reference.commands()
    commands = dict(reference._commands(typer.main.get_command(app)))
    assert {"nbdist run", "nbdist kernels build", "nbdist nanobragg"} <= commands.keys()
    names, parts = re.findall(r"^## (.*)$", page, re.MULTILINE), re.split(r"^## .*$", page, flags=re.MULTILINE)
    sections = dict(zip(names, parts[1:], strict=True))
    assert list(sections) == sorted(commands)
    for name, command in commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                assert max(parameter.opts, key=len) in sections[name], f"{name} {parameter.opts}"
    assert r"`auto\|cpu\|cuda` | `auto`" in sections["nbdist run"]
    for flag in TABLE:
        assert f"`{' '.join(flag.words)}`" in sections["nbdist nanobragg"]
    assert re.search(r"`-o, --output` +\| `STORE` +\| required", sections["nbdist run"])


def test_every_field_of_an_experiment_has_a_row_with_its_unit():
    page, schema = reference.experiment_file(), experiment_schema()
    fields = {row[0].strip("` ") for row in _rows(page)}
    for section in (schema, *schema["$defs"].values()):
        assert reference._mapping(section)["properties"].keys() <= fields
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == set(schema["$defs"])
    rows = {row[0].strip("` "): row for row in _rows(page)}
    assert rows["sigma_deg"][2] == "degrees"
    assert rows["fluence_photons_per_m2"][2] == "photons/m²"
    assert rows["shape"][1].startswith("`")


WITHOUT_UNIT = {
    "F",
    "bandwidth_sigma",
    "beta",
    "calibration_sigma",
    "cell",
    "charge_sharing_fraction",
    "d_spread",
    "dead_pixel_fraction",
    "default_F",
    "direction",
    "exposure_jitter_sigma",
    "fast_axis",
    "fraction",
    "fudge",
    "hot_pixel_fraction",
    "intensity",
    "mean_F2",
    "mosaic_rotations",
    "normal_axis",
    "polarization_factor",
    "polarization_vector",
    "sigma",
    "slow_axis",
    "spindle_axis",
    "splits",
    "spot_share",
    "texture",
    "tolerance",
    "transmission",
    "two_theta_axis",
    "weight",
}
"""Numbers that are shares, factors, directions or counts, or say their units in their descriptions."""


def test_every_section_and_field_is_described_and_every_number_has_its_unit():
    schema = experiment_schema()
    definitions = schema["$defs"]
    sections = {name: reference._mapping(section) for name, section in definitions.items()}
    silent = [name for name, section in sections.items() if not section.get("description")]
    units = {}
    for section, its in {**sections, "": schema, "recipe": RecipeSection.model_json_schema()}.items():
        for name, field in its["properties"].items():
            silent += [] if reference._description(field, definitions) else [f"{section}.{name}"]
            kind = reference._type(field)
            if "number" in kind and "whole" not in kind:
                units[name] = reference.unit(name, kind)
    assert silent == []
    assert {name for name, unit in units.items() if not unit} == WITHOUT_UNIT


def test_the_unit_is_what_the_name_says():
    units = {
        "B_factor_A2_per_MGy": "Å²/MGy",
        "wavelength_A": "Å",
        "size_um": "µm",
        "dose_MGy_per_frame": "MGy/frame",
        "dose_MGy_at_start": "MGy",
        "electrons_per_photon": "electrons/photon",
        "adu_per_electron": "ADU/electron",
        "percent": "%",
        "frames": "",
    }
    assert {name: reference.unit(name, "number") for name in units} == units
    assert reference.unit("point_pixels", reference.TRUTH) == ""


def test_tables_have_no_column_that_is_empty_and_keep_their_cells():
    made = reference.table(["a", "b", "c"], [[reference.code("x|y"), "", reference.text("a | b <c> $d$ *e*")]])
    assert made.splitlines()[0] == "| a | c |"
    assert made.splitlines()[2] == r"| `x\|y` | a \| b \<c> \$d\$ \*e\* |"


def test_every_product_is_in_one_of_the_tables():
    page = "".join([reference.pixel_products(), reference.series_maps(), reference.frame_series()])
    tables = [name for name, product in PRODUCTS.items() if hasattr(product, "columns")]
    for name in PRODUCTS:
        assert name in tables or f"`{name}`" in page
    for name in tables:
        assert len(_rows(reference.columns(name))) == 2 + len(PRODUCTS[name].columns)


def test_all_texts_that_pages_ask_for_are_there():
    docs = Path(__file__).parents[2] / "docs"
    asked = [
        words.split()
        for page in docs.rglob("*.md")
        for words in re.findall(r"^```\{made\} (.*)$", page.read_text(), re.M)
    ]
    assert {name for name, *_ in asked} == reference.MADE.keys()
    for name, *words in asked:
        assert reference.MADE[name](*words).strip()
