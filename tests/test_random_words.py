"""The random words are those of Philox 4x64, worked out here in whole numbers from the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nbdist.errors import ExperimentError
from nbdist.experiment.lattice import reciprocal_from_cell
from nbdist.experiment.structure_factors import Wilson
from nbdist.random_words import RandomWords, uniforms
from nbdist.scene.amplitudes import wilson_amplitudes

MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
WORD = 2**64


def philox(counter, key):
    """Ten rounds of Philox 4x64 (Salmon et al., SC'11, section 4.3), in Python's whole numbers."""
    (a, b, c, d), (first, second) = counter, key
    for _ in range(10):
        (high_a, low_a), (high_c, low_c) = divmod(MULTIPLIERS[0] * a, WORD), divmod(MULTIPLIERS[1] * c, WORD)
        a, b, c, d = high_c ^ b ^ first, low_c, high_a ^ d ^ second, low_a
        first, second = (first + WEYL[0]) % WORD, (second + WEYL[1]) % WORD
    return [a, b, c, d]


def test_philox_gives_the_known_answers_of_its_authors():
    # the first and second lines for philox4x64 10 in kat_vectors of the authors' Random123
    assert philox([0] * 4, [0] * 2)[0] == 0x16554D9ECA36314C
    assert philox([WORD - 1] * 4, [WORD - 1] * 2)[0] == 0x87B092C3013FE90B


@pytest.mark.parametrize("key", [(0, 0), (5, 3), (WORD - 1, 12)])
def test_blocks_are_those_of_the_counters_that_follow_whatever_was_drawn_before(key):
    words = RandomWords(key)
    words.blocks((9, 9, 9, 9), 2)
    drawn = words.blocks((41, 2, 7, 0), 3)
    assert drawn.tolist() == [philox([counter, 2, 7, 0], key) for counter in (42, 43, 44)]
    np.testing.assert_array_equal(words.blocks((41, 2, 7, 0), 3), drawn)


def test_uniforms_lie_inside_0_and_1():
    # the middle of each of 2^53 equal parts
    assert uniforms(np.array([0, WORD - 1], dtype=np.uint64)).tolist() == [2.0**-54, 1 - 2.0**-54]


def wilson_by_hand(h, k, l, seed, mean_F2):
    """The amplitude of a reflection without B factor, from the words of the docstring."""
    h, k, l = max((h, k, l), (-h, -k, -l))
    word = philox([2**32 + l + 1, 2**32 + k, 2**32 + h, 0], [seed, 0])[0]
    return math.sqrt(-math.log(((word >> 11) + 0.5) / 2**53) * mean_F2)


@pytest.mark.parametrize("seed", [0, 7, WORD - 1])
def test_wilson_amplitudes_are_those_of_the_counter(seed):
    reciprocal = reciprocal_from_cell((12, 14, 17, 80, 95, 100))
    source = Wilson(d_min_A=3, mean_F2=900, B_factor_A2=0, seed=seed)
    indices, amplitudes = wilson_amplitudes(reciprocal, source)
    assert len(indices) > 400
    expected = [wilson_by_hand(*hkl, seed, 900) for hkl in indices.tolist()]
    np.testing.assert_allclose(amplitudes, expected, rtol=1e-14)


def test_a_wilson_amplitude_depends_on_the_seed_and_the_index_alone():
    reciprocal = reciprocal_from_cell((12, 14, 17, 80, 95, 100))
    coarse, fine = (
        {tuple(hkl): F for hkl, F in zip(i.tolist(), a, strict=True)}
        for i, a in (wilson_amplitudes(reciprocal, Wilson(d_min_A=d, seed=3)) for d in (3, 1.7))
    )
    assert len(coarse) < len(fine)
    assert all(fine[hkl] == F for hkl, F in coarse.items())
    other = reciprocal_from_cell((12, 14, 17, 80, 95, 100.0001))
    moved = dict(
        zip(map(tuple, (i := wilson_amplitudes(other, Wilson(d_min_A=3, seed=3)))[0].tolist()), i[1], strict=True)
    )
    assert all(math.isclose(moved[hkl], F, rel_tol=1e-4) for hkl, F in coarse.items() if hkl in moved)


def test_a_cell_of_one_row_of_reflections_has_them_all_but_the_origin():
    indices, _ = wilson_amplitudes(reciprocal_from_cell((2, 2, 30, 90, 90, 90)), Wilson(d_min_A=4.9))
    assert indices[:, 2].tolist() == [*range(-6, 0), *range(1, 7)]
    with pytest.raises(ExperimentError, match="no reflection"):
        wilson_amplitudes(reciprocal_from_cell((2, 2, 3, 90, 90, 90)), Wilson(d_min_A=5))
