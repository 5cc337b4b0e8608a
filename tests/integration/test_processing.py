"""Whole series through programs that were not written here, and what they find beside the truth: the workflows, number by number."""

from __future__ import annotations

from pathlib import Path

import again
import prove
import pytest
import there_and_back
from processing import missing

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.workflows,
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.filterwarnings("ignore"),  # of ImageD11
]


@pytest.fixture(scope="module")
def proof(tmp_path_factory) -> tuple[Path, int]:
    """The folder in which a series was processed in every format, and the status with which that ended."""
    folder = tmp_path_factory.mktemp("series")
    return folder, prove.main(["-o", str(folder)])


def test_dials_and_imaged11_find_the_truth(proof):
    assert proof[1] == 0


def test_a_project_of_dials_is_rendered_again(proof, tmp_path):
    assert again.main([str(proof[0] / "dials_integrated_nxmx"), "-o", str(tmp_path)]) == 0


def test_structure_factors_of_a_model_come_back_with_their_differences(tmp_path):
    assert there_and_back.main(["-o", str(tmp_path)]) == 0
