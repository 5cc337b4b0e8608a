"""Files that are cut short, damaged or made to do harm are refused in one line that names them, whoever reads them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from atomic_models import write_model

from nbdist.errors import ExperimentError, FileFormatError
from nbdist.experiment import load_experiment
from nbdist.experiment.model import file_digest
from nbdist.formats.atomic_model import read_atomic_model
from nbdist.formats.dials_models import read_dials_models
from nbdist.formats.hkl import read_hkl
from nbdist.formats.image_headers import read_images
from nbdist.formats.merged import form_of
from nbdist.formats.smv import smv_bytes
from nbdist.formats.source_list import read_source_list
from nbdist.formats.text import said_of
from nbdist.scene.arrays import load_array

LONG_NAME = 300 * "x"


def refused(read, path, *said):
    with pytest.raises((FileFormatError, ExperimentError)) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    for words in said:
        assert words in message


def complaint(read, path):
    """What is said of a file, None where it is read all the same; any other error is the test's."""
    try:
        read(path)
    except FileFormatError as error:
        return str(error)
    return None


@pytest.mark.parametrize("mark", [b"HEAP", b"SNOD", b"TREE", b"GCOL", b"OHDR"])
@pytest.mark.parametrize("make", ["eiger", "eiger_with_modules"])
def test_a_master_file_with_damaged_tables_is_refused_by_name(make, mark, tmp_path):
    pytest.importorskip("hdf5plugin", reason="hdf5plugin is not installed: extra hdf5")
    import nexus_files

    path = getattr(nexus_files, make)(tmp_path / "x_master.h5")
    whole = path.read_bytes()
    for place in (place for place in range(len(whole)) if whole.startswith(mark, place)):
        path.write_bytes(whole[:place] + bytes(len(mark)) + whole[place + len(mark) :])
        said = complaint(lambda path: read_images([path]), path)
        assert said is None or ("x_master.h5" in said and "\n" not in said)


@pytest.mark.parametrize(
    "change",
    [
        (b"   3.100", b"     nan"),  # of a coordinate
        (b"  20.000", b" 1.0e+30"),  # of the cell
        (b"MSE", b"\xe1SE"),
    ],
)
def test_a_model_that_gemmi_chokes_on_is_refused_by_name(change, tmp_path):
    path = write_model(tmp_path / "a.pdb", extra="MTRIX1   1  1.000000  0.000000  0.000000        5.00000\n")
    content = path.read_bytes()
    assert change[0] in content
    path.write_bytes(content.replace(*change))
    said = complaint(read_atomic_model, path)
    assert said is None or ("a.pdb" in said and "\n" not in said)


def test_a_model_that_any_library_error_ends_is_refused_by_name(tmp_path, monkeypatch):
    import gemmi

    def choke(*arguments):
        raise MemoryError("std::bad_alloc")

    path = write_model(tmp_path / "a.pdb")
    monkeypatch.setattr(gemmi, "read_structure", choke)
    refused(read_atomic_model, path, "a.pdb cannot be read: it asks for more memory than there is")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|b1', 'fortran_order': False, 'shape': (5, 7",  # no end of it
        b"{'descr': '|b1', 'fortran_order': False, 'shape': (10000000000000000000000000000000,), }",
        b"((((((((" + 60 * b"(",
        b"{'descr': '\"\"\"', 'fortran_order': False, 'shape': (5L, \"\"\"",
    ],
)
def test_an_array_whose_header_is_none_is_refused_with_its_field(header, tmp_path):
    path = tmp_path / "mask.npy"
    np.save(path, np.zeros((5, 7), bool))
    path.write_bytes(path.read_bytes()[:10] + header.ljust(118) + bytes(35))
    refused(lambda path: load_array(path, "detector.mask_file"), path, "detector.mask_file: ", "mask.npy")


def test_an_array_that_asks_for_more_memory_than_there_is_is_refused_with_its_field(tmp_path):
    path = tmp_path / "mask.npy"
    path.write_bytes(
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(118)
    )
    refused(
        lambda path: load_array(path, "detector.mask_file"), path, "detector.mask_file: ", "more memory than there is"
    )


HEADER = {"DISTANCE": 100.0, "PIXEL_SIZE": 0.1, "WAVELENGTH": 1.0, "BEAM_CENTER_X": 0.3, "BEAM_CENTER_Y": 0.3}


def test_an_image_of_more_pixels_than_any_has_is_refused_before_there_is_room_for_them(tmp_path):
    path = tmp_path / "x_1.img"
    path.write_bytes(smv_bytes(HEADER, np.zeros((8, 8), np.uint16)).replace(b"SIZE2=8;", b"SIZE2=99999999999;"))

    def read(path):
        with said_of(path):
            read_images([path])

    refused(read, path, "x_1.img: a panel of 99999999999 x 8 pixels; should be 268,435,456 at most")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("{" + '"a": {' * 100_000, "nested too deeply"),
        ('{"a": ' + 5000 * "1" + "}", "digits"),
        (
            json.dumps({"__id__": "ExperimentList", "experiment": [{"beam": [0], "detector": {}}]}),
            "beam should be one of",
        ),
    ],
)
def test_models_of_dials_that_are_none_are_refused_by_name(content, said, tmp_path):
    path = tmp_path / "a.expt"
    path.write_text(content)
    refused(read_dials_models, path, "a.expt", said)


@pytest.mark.parametrize(
    "read",
    [
        load_experiment,
        read_hkl,
        read_atomic_model,
        read_dials_models,
        read_source_list,
        lambda path: file_digest("structure_factors.file", path),
    ],
)
def test_a_device_that_never_ends_is_not_read(read):
    refused(read, Path("/dev/zero"), "/dev/zero cannot be read: it is a device, and no file")


def test_a_name_that_is_too_long_is_one_line(tmp_path):
    refused(form_of, tmp_path / f"{LONG_NAME}.hkl", "File name too long")
