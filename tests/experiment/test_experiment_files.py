"""Experiment files: what is read, and the one line that answers a wrong one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from nbdist.clusters.cluster_file import load_cluster_file
from nbdist.errors import ExperimentError, FileFormatError, NbdistError
from nbdist.experiment import experiment_schema, experiment_to_yaml, load_experiment, validate
from nbdist.experiment.files import is_recipe
from nbdist.experiment.recipe import load_recipe
from nbdist.experiment.template import TEMPLATE
from nbdist.scene import resolve

MINIMAL = "crystal: {cell: [40, 50, 60, 90, 90, 90]}\nstructure_factors: {kind: uniform, F: 100}\n"
CRYSTAL, AMPLITUDES = MINIMAL.splitlines()


@pytest.fixture
def load(tmp_path):
    """`load(text)`: the experiment of a file with this text."""

    def read(text, name="experiment.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return load_experiment(path)

    return read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + "beam: {wavelenght_A: 1}", ["beam.wavelenght_A", "unknown field"]),
        (MINIMAL + "deetctor: {}", ["deetctor", "unknown field"]),
        (
            CRYSTAL + "\nstructure_factors: {kind: file, file: a.mtz, columms: F}",
            [".columms: unknown field, near columns (f"],
        ),
        (MINIMAL + "crystals: [{mosaicty: 1}]", ["crystals.0.mosaicty: unknown field, near mosaicity (found 1)"]),
        (MINIMAL + "beam: {beam size: 1}", ["beam.beam size: unknown field, near beam_size_mm (found 1)"]),
        (MINIMAL + "beam: {direction: 5}", ["beam.direction: should be a list of 3 numbers, found 5"]),
        (
            MINIMAL + "background: {water_um: 1, image_file: 5}",
            ["background.image_file: should be the name of a file, found 5"],
        ),
        (MINIMAL + "detector: {panels: 5}", ["detector.panels: should be a list of mappings, found 5"]),
        (MINIMAL + "crystals: []", ["crystals: should be a list of 1 or more mappings, found 0: []"]),
        (MINIMAL + "beam: 5", ["beam: should be fields in a mapping, found 5"]),
        (
            AMPLITUDES + "\ncrystal: {cell: [9, 9, 9, 90, 90]}",
            ["crystal.cell: should be a list of 6 numbers, found 5: [9, 9, 9, 90, 90]"],
        ),
        (
            AMPLITUDES + "\ncrystal: {cell: [9, 9, 9, 90, 90, 90, 1]}",
            ["crystal.cell: should be a list of 6 numbers, found 7: "],
        ),
        (
            AMPLITUDES + "\ncrystal: {real_vectors_A: [[9, 0, 0], [0, 9, 0]]}",
            ["crystal.real_vectors_A: should be a list of 3 lists of 3 numbers, found 2: "],
        ),
        (
            CRYSTAL + "\nstructure_factors: {kind: file, file: a.mtz, columns: [FOBS]}",
            ['structure_factors.columns: should be a valid string or a list of 2 strings, found 1: ["FOBS"]'],
        ),
        (CRYSTAL, ["structure_factors", "required"]),
        (AMPLITUDES, ["crystal", "required"]),
        (
            "crystals: [{cell: [9, 9, 9, 90, 90, 90]}, {cell: [9, 9, 9, 90, 90, 90], weight: 0}]\n" + AMPLITUDES,
            ["crystals.1.weight", "greater than 0"],
        ),
        (
            "crystals: [{cell: [9, 9, 9, 90, 90, 90], structure_factors: {kind: wilson, d_min_A: -1}}]",
            ["crystals.0.structure_factors.d_min_A", "greater than 0"],
        ),
        ("crystals: [{cell: [9, 9, 9, 90, 90, 90]}]", ["structure_factors", "required", "crystals.0"]),
        (MINIMAL + "beam: {wavelength_A: 0}", ["beam.wavelength_A", "greater than 0", "found 0"]),
        (MINIMAL + "beam: {wavelength_A: one}", ["beam.wavelength_A", "number", '"one"']),
        (MINIMAL + "beam: {wavelength_A: .nan}", ["beam.wavelength_A", "finite"]),
        (MINIMAL + "beam: {wavelength_A: 1, energy_eV: 12000}", ["wavelength_A", "energy_eV", "not both"]),
        (MINIMAL + "beam: {exposure_s: 1}", ["beam", "exposure_s", "flux_photons_per_s"]),
        (MINIMAL + "beam: {polarization_factor: 1.5}", ["beam.polarization_factor", "1.5"]),
        (MINIMAL + "beam: {direction: [0, 0, 0]}", ["beam.direction", "0 0 0"]),
        (MINIMAL + "beam: {sources: [{direction: [0, 0, 1], weight: 0}]}", ["beam", "weight"]),
        (
            MINIMAL + "detector: {panels: [{distance_mm: -5}]}",
            ["detector.panels.0.distance_mm", "greater than 0", "-5"],
        ),
        (MINIMAL + "detector: {panels: [{distance_mm: 5, close_distance_mm: 5}]}", ["panels.0", "not both"]),
        (MINIMAL + "detector: {panels: [{fast_axis: [1, 0, 0]}]}", ["panels.0.fast_axis", "convention: custom"]),
        (MINIMAL + "detector: {panels: []}", ["detector.panels"]),
        (
            MINIMAL + "detector: {panels: [{}, {}], region_of_interest: {slow: [0, 5], fast: [0, 5]}}",
            ["region_of_interest", "one panel", "found 2"],
        ),
        (MINIMAL + "crystals: [{cell: [9, 9, 9, 90, 90, 90]}]", ["crystal", "crystals", "not both"]),
        ("crystals: []\n" + AMPLITUDES, ["crystals"]),
        (
            MINIMAL + "detector: {region_of_interest: {slow: [0, 1025], fast: [0, 10]}}",
            ["region_of_interest", "outside the detector", "1024 x 1024"],
        ),
        (
            MINIMAL + "detector: {region_of_interest: {slow: [9, 9], fast: [0, 1]}}",
            ["region_of_interest.slow", "no pixel"],
        ),
        (MINIMAL + "scan: {frames: 0}", ["scan.frames", "found 0"]),
        (MINIMAL + "scan: {phi_steps: 2.5}", ["scan.phi_steps", "2.5"]),
        (MINIMAL + "sampling: {oversample: 0}", ["sampling.oversample"]),
        (MINIMAL + "noise: {seed: -1}", ["noise.seed", "-1"]),
        (
            MINIMAL + "readout: {integers: uint16, saturation_adu: 65534}",
            ["saturation_adu", "65534", "uint16", "65533"],
        ),
        (MINIMAL + "readout: {rolls_over: true}", ["readout", "rolls_over", "saturation_adu"]),
        (MINIMAL + "readout: {dead_time_ns: 100}", ["readout.dead_time_ns", "flux_photons_per_s"]),
        (MINIMAL + "readout: {paralysable: true}", ["paralysable", "dead_time_ns"]),
        (MINIMAL + "readout: {hot_pixel_adu: 50}", ["readout", "hot_pixel_adu needs hot_pixel_fraction"]),
        (MINIMAL + "readout: {dead_pixel_fraction: 0.3, hot_pixel_fraction: 0.3}", ["dead_pixel_fraction", "half"]),
        (MINIMAL + "readout: {charge_sharing_fraction: 0.9}", ["readout.charge_sharing_fraction", "0.75", "0.9"]),
        (MINIMAL + "readout: {point_spread: {kind: gaussian}}", ["readout.point_spread", "fwhm_mm", "gaussian"]),
        (MINIMAL + "readout: {point_spread: {kind: moffat, fwhm_mm: 0.1}}", ["readout.point_spread", "beta", "moffat"]),
        (
            MINIMAL + "readout: {point_spread: {kind: fibre, fwhm_mm: 0.1, beta: 2}}",
            ["readout.point_spread", "beta", "no meaning", "fwhm_mm, reach_mm"],
        ),
        (MINIMAL + "readout: {point_spread: {kind: airy, fwhm_mm: 1}}", ["readout.point_spread.kind", "airy"]),
        (AMPLITUDES + "\ncrystal: {cell: [40, 50, 60, 90, 90, 180]}", ["crystal.cell", "between 0 and 180"]),
        (AMPLITUDES + "\ncrystal: {cell: [40, 50, 60, 30, 40, 100]}", ["crystal.cell", "no volume"]),
        (AMPLITUDES + "\ncrystal: {cell: [-40, 50, 60, 90, 90, 90]}", ["crystal.cell.0", "-40"]),
        (AMPLITUDES + "\ncrystal: {N_cells: [1, 1, 1]}", ["crystal", "cell", "none"]),
        (CRYSTAL + "\nstructure_factors: {F: 1}", ["structure_factors", "kind"]),
        (CRYSTAL + "\nstructure_factors: {kind: fiel}", ["structure_factors", "fiel"]),
        (CRYSTAL + "\nstructure_factors: {kind: file}", ["structure_factors.file", "required"]),
        (MINIMAL + "crystal: {shape: round}", ["line 3", "crystal", "twice"]),
        (MINIMAL + "beam: [1, 2", ["line 3"]),
        (MINIMAL + "beam: {a: b: c}", ["line 3"]),
        ("just some words", ["expected the sections", "just some words"]),
        ("", ["expected the sections"]),
    ],
)
def test_a_wrong_file_is_answered_in_one_line_that_names_the_field(load, text, said):
    with pytest.raises(ExperimentError) as raised:
        load(text)
    message = str(raised.value)
    assert "\n" not in message
    assert "experiment.yaml" in message
    for words in said:
        assert words in message


def test_every_wrong_field_is_named_at_once(load):
    with pytest.raises(ExperimentError) as raised:
        load(MINIMAL + "beam: {wavelength_A: 0}\nscan: {frames: 0}")
    assert "beam.wavelength_A" in str(raised.value)
    assert "scan.frames" in str(raised.value)


@pytest.mark.parametrize("content", [None, "directory", b"\xff\xfe\x00\x81"], ids=["missing", "directory", "binary"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "experiment.yaml"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ExperimentError, match=r"experiment\.yaml cannot be read: .+") as raised:
        load_experiment(path)
    assert "\n" not in str(raised.value)


ALIASES = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{ALIASES}\ntitle: *a29", "line 7: aliases stand for more than 1,000,000 values"),
        ("title: &a [*a]", "line 1: '*a' stands within itself"),
        ("beam:\n  wavelength_A: &a {b: [*a]}", "line 2: '*a' stands within itself"),
        ("title: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        (
            "title: a\nscan: {frames: " + "9" * 5000 + "}",
            "line 2: '9999999999999999999999999999999999999999' is no valid int",
        ),
        ("title: 2001-99-99", "line 1: '2001-99-99' is no valid timestamp"),
        ("title: !!bool maybe", "line 1: 'maybe' is no valid bool"),
        ("title: !!timestamp x", "line 1: 'x' is no valid timestamp"),
        ("title: !!int ''", "line 1: '' is no valid int"),
        ("title: a\n? [a, b]\n: 1", "line 2: a list or mapping is no key"),
        ("? {a: b}\n: 1", "line 1: a list or mapping is no key"),
    ],
    ids=lambda text: text[-20:],
)
def test_a_hostile_file_costs_an_error_in_one_line(load, text, said):
    with pytest.raises(ExperimentError, match=r"experiment\.yaml.*: ") as raised:
        load(text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [("[" * 200_000 + "]" * 200_000, "nested too deeply"), ("9" * 5000, "4300 digits")],
    ids=["nested", "digits"],
)
def test_hostile_json_costs_an_error_in_one_line(load, content, said):
    with pytest.raises(ExperimentError, match=rf"experiment\.json: .*{said}"):
        load(f'{{"title": {content}}}', "experiment.json")


def test_aliases_stand_for_what_they_name(load):
    section = "{kind: uniform, F: &one 1}\nbeam: {wavelength_A: *one}"
    assert load(f"{CRYSTAL}\nstructure_factors: {section}").beam.wavelength_A == 1


def test_json_is_read_and_its_errors_name_the_line(load):
    content = {"crystal": {"cell": [40, 50, 60, 90, 90, 90]}, "structure_factors": {"kind": "uniform", "F": 1}}
    assert load(json.dumps(content), "experiment.json") == load(json.dumps(content))
    with pytest.raises(ExperimentError, match=r"experiment\.json, line 2: "):
        load('{"crystal":\n ]', "experiment.json")


def test_text_is_utf8_whatever_the_locale(tmp_path):
    title = "a — b, 2 Å, \N{GREEK SMALL LETTER LAMDA}"
    file, copy = tmp_path / "experiment.yaml", tmp_path / "copy.yaml"
    hkl = tmp_path / "a.hkl"
    hkl.write_bytes("\ufeff1 2 3 4\n# Å\n".encode())
    structure_factors = "structure_factors: {kind: file, file: a.hkl}\n"
    file.write_bytes(f"\ufefftitle: {title}\n{CRYSTAL}\n{structure_factors}".encode())
    program = (
        "import sys; from pathlib import Path; from nbdist.experiment import *\n"
        "from nbdist.scene import resolve; from nbdist.scene.amplitudes import *\n"
        "experiment = load_experiment(sys.argv[1]); assert len(load_reflections(resolve(experiment))[0].indices) == 1\n"
        "Path(sys.argv[2]).write_text(experiment_to_yaml(experiment), encoding='utf-8')"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", program, str(file), str(copy)]
    subprocess.run(command, env=os.environ | plain, check=True)
    assert title in copy.read_bytes().decode()
    assert load_experiment(copy) == load_experiment(file)


def test_an_experiment_file_in_another_encoding_is_refused_by_name(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_bytes(f"title: 2 Å\n{MINIMAL}".encode("latin-1"))
    with pytest.raises(ExperimentError, match=r"experiment\.yaml cannot be read: it is not text in UTF-8$"):
        load_experiment(path)


@pytest.mark.parametrize("number", ["1e12", "1E+12", "1.e12", "10.0e11", "1000000000000"])
def test_numbers_with_exponents_are_numbers(load, number):
    assert load(MINIMAL + f"beam: {{flux_photons_per_s: {number}}}").beam.flux_photons_per_s == 1e12


def test_file_names_are_relative_to_the_experiment_file(load, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    experiment = load(CRYSTAL + "\nstructure_factors: {kind: file, file: data/a.hkl}")
    assert experiment.structure_factors.file == tmp_path / "data" / "a.hkl"


def test_file_names_inside_lists_are_relative_to_the_experiment_file_too(load, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_HERE", "/somewhere")
    panels = "[{fpixels: 5, mask_file: a.npy}, {fpixels: 5}, {fpixels: 5, mask_file: $DATA_HERE/c.npy}]"
    first, second, third = load(MINIMAL + f"detector: {{panels: {panels}}}").detector.panels
    assert (first.mask_file, second.mask_file) == (tmp_path / "a.npy", None)
    assert str(third.mask_file) == "/somewhere/c.npy"
    monkeypatch.delenv("DATA_HERE")
    with pytest.raises(
        ExperimentError, match=r"detector\.panels\.2\.mask_file: \$DATA_HERE/c\.npy needs the environment"
    ):
        load(MINIMAL + f"detector: {{panels: {panels}}}")


def test_variables_and_home_are_expanded_in_file_names(load, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_HERE", "/somewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    text = "crystal: {matrix_file: ~/A.mat}\nstructure_factors: {kind: file, file: '$DATA_HERE/a.hkl'}"
    experiment = load(text)
    assert str(experiment.structure_factors.file) == "/somewhere/a.hkl"
    assert experiment.crystal.matrix_file == tmp_path / "A.mat"
    assert str(load(text.replace("$DATA_HERE", "${DATA_HERE}")).structure_factors.file) == "/somewhere/a.hkl"


def test_an_unset_variable_is_named_with_its_field(load, monkeypatch):
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    with pytest.raises(ExperimentError) as raised:
        load(CRYSTAL + "\nstructure_factors: {kind: file, file: $NOT_SET_HERE/a.hkl}")
    message = str(raised.value)
    assert "structure_factors.file" in message
    assert "NOT_SET_HERE" in message
    assert "\n" not in message


@pytest.mark.parametrize(("field", "kind"), [("mask_file", "mask"), ("mosaic_rotations_file", "rotations")])
def test_an_array_file_that_is_missing_is_named_when_it_is_needed(small_experiment, tmp_path, field, kind):
    section = "detector" if kind == "mask" else "crystal"
    experiment = small_experiment(**{section: {field: tmp_path / "none.npy"}})
    with pytest.raises(FileFormatError, match=rf"^{section}\.{field}: .*none\.npy cannot be read"):
        resolve(experiment)


def test_a_yaml_round_trip_keeps_the_fingerprint(small_experiment, load):
    experiment = small_experiment(
        beam={
            "sources": [{"direction": [0, 0, 1]}, {"direction": [0.1, 0, 1], "weight": 3}],
            "polarization_factor": None,
        },
        detector={"sensor": {"thickness_um": 100, "attenuation_depth_um": None, "layers": 2}, "curved": True},
        scan={"osc_range_deg": 1 / 3},
    )
    again = load(experiment_to_yaml(experiment))
    assert again == experiment
    assert again.fingerprint == experiment.fingerprint


def test_the_template_of_nbdist_init_loads(load):
    experiment = load(TEMPLATE)
    assert experiment.scan.frames == 30
    assert experiment.structure_factors.kind == "wilson"
    assert resolve(experiment).method == "integrated"


def test_the_json_schema_describes_every_section_and_forbids_others():
    schema = json.loads(json.dumps(experiment_schema()))
    assert schema["$schema"].startswith("https://json-schema.org/")
    sections = {
        "title",
        "beam",
        "crystal",
        "crystals",
        "scan",
        "detector",
        "structure_factors",
        "sampling",
        "background",
        "absorption",
        "shadows",
        "noise",
        "readout",
        "labels",
    }
    assert set(schema["properties"]) == sections
    assert schema["oneOf"] == [{"required": ["crystal"]}, {"required": ["crystals"]}]
    assert schema["additionalProperties"] is False
    for reference in _references(schema):
        assert reference.removeprefix("#/$defs/") in schema["$defs"]


def _references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


@pytest.mark.parametrize("read", [load_experiment, is_recipe, load_recipe, load_cluster_file])
@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "title: !!set [a]\n", "line 1: expected a mapping"),
        ("a.yaml", "title: !!set a\n", "line 1: expected a mapping"),
        ("a.yaml", "title: " + 150 * "[" + 150 * "]", "nested too deeply"),
        ("a.json", '{"title":' + 900 * "[" + 900 * "]" + "}", "nested too deeply"),
        ("a.json", '{"title": "a", "scan": {"frames": 1, "frames": 2}}', "'frames' is given twice"),
    ],
)
def test_a_document_that_python_chokes_on_is_one_line(read, name, text, said, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(NbdistError) as raised:
        read(path)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert said in message


@pytest.mark.parametrize(
    "sections",
    [
        {"crystal": {"cell": [1e-300, 50, 60, 90, 90, 90]}},
        {"crystal": {"N_cells": [2**64, 1, 1]}},
        {"crystal": {"N_cells": [10**400, 1, 1]}},
        {"scan": {"frames": 10**400}},
        {"scan": {"spindle_axis": [1e-300, 0, 0]}},
        {"beam": {"wavelength_A": 1e300}},
        {"beam": {"wavelength_A": 5e-324}},
        {"background": {"water_um": 1e300}},
        {"detector": {"panels": [{"pixel_size_mm": 5e-324}]}},
        {"crystal": {"mosaicity": {"sigma_deg": [1e300, 1, 1]}, "shape": "gauss"}},
    ],
)
def test_a_number_that_nothing_can_be_worked_out_with_is_refused_with_its_field(sections):
    content = yaml.safe_load(MINIMAL)
    for section, fields in sections.items():
        content[section] = content.get(section, {}) | fields
    with pytest.raises(ExperimentError, match=next(iter(sections[next(iter(sections))]))) as raised:
        validate(content)
    assert "\n" not in str(raised.value)


def test_a_home_folder_that_there_is_not_is_a_name_like_others(load):
    experiment = load(CRYSTAL + "\nstructure_factors: {kind: file, file: ~nobody_is_called_so/a.hkl}")
    assert experiment.structure_factors.file.name == "a.hkl"
