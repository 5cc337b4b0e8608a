"""Solid angle, polarization, capture and resolution of single points, against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from nbdist.kernels.reference import pixels
from nbdist.kernels.reference.pixels import PanelVectors

component = st.floats(-1, 1)
vector = st.tuples(component, component, component).filter(lambda v: np.linalg.norm(v) > 0.1)


def unit(v):
    v = np.asarray(v, dtype=np.float64)
    return v / np.linalg.norm(v)


def tensor(value):
    return torch.as_tensor(np.asarray(value, dtype=np.float64))


def flat_panel(size, pixel, distance):
    """A square panel of `size` pixels, normal to a beam along z that hits its middle; metres."""
    half = size * pixel / 2
    vectors = [(-half, -half, distance), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 1)]
    return PanelVectors(*(tensor(v) for v in vectors), tensor(pixel), tensor(distance), tensor(distance))


def all_positions(panel, size, curved=False):
    slow, fast = torch.meshgrid(*[torch.arange(size, dtype=torch.float64) + 0.5] * 2, indexing="ij")
    return pixels.positions(slow.ravel(), fast.ravel(), tensor(0.0), panel, curved)


def kahn(direction, incident, polarization, factor):
    """1/2 (1 + cos^2 2theta - K cos 2psi sin^2 2theta), psi = -atan2(d.B, d.E)."""
    magnetic = unit(np.cross(polarization, incident))
    electric = unit(np.cross(incident, magnetic))
    psi = -np.arctan2(direction @ magnetic, direction @ electric)
    cosine = direction @ incident
    return 0.5 * (1 + cosine**2 - factor * np.cos(2 * psi) * (1 - cosine**2))


@given(direction=vector, incident=vector, polarization=vector, factor=st.floats(-1, 1))
def test_polarization_is_kahns_formula(direction, incident, polarization, factor):
    direction, incident, polarization = unit(direction), unit(incident), unit(polarization)
    assume(np.linalg.norm(np.cross(polarization, incident)) > 0.01)
    found = pixels.polarization(tensor(direction)[:, None], tensor(incident), tensor(polarization), tensor(factor))
    assert found.item() == pytest.approx(kahn(direction, incident, polarization, factor), rel=0, abs=1e-12)


@given(incident=vector, polarization=vector, factor=st.floats(-1, 1))
def test_polarization_is_one_in_the_beam(incident, polarization, factor):
    incident = unit(incident)
    assume(np.linalg.norm(np.cross(unit(polarization), incident)) > 0.01)
    for direction in (incident, -incident):
        found = pixels.polarization(tensor(direction)[:, None], tensor(incident), tensor(polarization), tensor(factor))
        assert found.item() == pytest.approx(1, abs=1e-14)


@given(direction=vector, incident=vector)
def test_an_unpolarised_beam_along_the_vector_has_a_polarization_all_the_same(direction, incident):
    direction, incident = unit(direction), unit(incident)
    for along in (incident, -incident):
        found = pixels.polarization(tensor(direction)[:, None], tensor(incident), tensor(along), tensor(0.0))
        assert found.item() == pytest.approx((1 + (direction @ incident) ** 2) / 2, abs=1e-15)


def test_a_polarised_beam_scatters_nothing_along_its_field():
    along_field, across = pixels.polarization(
        tensor([[1, 0, 0], [0, 1, 0]]).T, tensor([0, 0, 1]), tensor([1, 0, 0]), tensor(1.0)
    )
    assert along_field.item() == pytest.approx(0, abs=1e-15)
    assert across.item() == pytest.approx(1, abs=1e-15)


def test_solid_angles_add_up_to_that_of_the_rectangle():
    size, pixel, distance = 200, 2e-4, 0.05
    panel = flat_panel(size, pixel, distance)
    _, length = pixels.directions(all_positions(panel, size))
    half = size * pixel / 2
    # of a rectangle of half sides a, b at d: 4 atan(a b / (d sqrt(a^2 + b^2 + d^2)))
    whole = 4 * np.arctan(half**2 / (distance * np.sqrt(2 * half**2 + distance**2)))
    # the middle of a pixel stands for it, an error of (pixel/distance)^2/24 of it or less
    assert pixels.solid_angle(length, panel, False).sum().item() == pytest.approx(whole, rel=(pixel / distance) ** 2)


def test_point_pixels_have_no_area_and_no_obliquity():
    panel = flat_panel(20, 1e-3, 0.03)
    position = all_positions(panel, 20)
    _, length = pixels.directions(position)
    np.testing.assert_allclose(pixels.solid_angle(length, panel, True), 1 / (position**2).sum(0), rtol=1e-15)


@given(
    layers=st.integers(1, 12), thickness_um=st.floats(1, 2000), depth_um=st.floats(10, 5000), cosine=st.floats(0.2, 1)
)
def test_layers_together_capture_what_the_sensor_stops(layers, thickness_um, depth_um, cosine):
    panel = flat_panel(10, 1e-3, 0.1)
    direction = tensor([[np.sqrt(1 - cosine**2)], [0], [cosine]])
    parts = [
        pixels.capture(
            direction, panel, tensor(float(n)), tensor(thickness_um * 1e-6 / layers), tensor(1e6 / depth_um)
        ).item()
        for n in range(layers)
    ]
    assert sum(parts) == pytest.approx(-np.expm1(-thickness_um / depth_um / cosine), abs=1e-14)
    assert parts == sorted(parts, reverse=True)


def test_resolution_limit_keeps_what_is_at_or_above_d_min():
    q = tensor([[0.25, 0.5, 0.5000001, 1.0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert pixels.resolved(q, tensor(2.0)).tolist() == [1, 1, 0, 0]


def test_every_pixel_of_a_curved_detector_is_at_its_distance():
    panel = flat_panel(50, 1e-3, 0.04)
    _, length = pixels.directions(all_positions(panel, 50, curved=True))
    np.testing.assert_allclose(length, 0.04, rtol=1e-14)


@given(direction=vector, incident=vector, wavelength=st.floats(0.1, 10))
def test_scattering_vectors_obey_braggs_law(direction, incident, wavelength):
    direction, incident = unit(direction), unit(incident)
    q = pixels.scattering_vectors(tensor(direction)[:, None], tensor(incident), tensor(wavelength)).numpy()[:, 0]
    # sin(theta)/lambda = |q|/2 with cos(2 theta) = i.d, as sin^2(theta) = (1 - cos 2theta)/2
    assert wavelength**2 * (q @ q) / 4 == pytest.approx((1 - direction @ incident) / 2, abs=1e-14)
