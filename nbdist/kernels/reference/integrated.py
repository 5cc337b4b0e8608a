"""The mean of a spot over phi, mosaicity, wavelengths and directions, in closed form: the specification of the integrated method.

For a reciprocal lattice point G of a gauss crystal the intensity at a scattering vector q is exp(-D.S^-1.D / 2), D = q - G and S the
covariance of its shape. Its mean is over variables x: the rotation vector w of a mosaic block about three axes, the relative wavelength
d, two angles of the beam (all normal with mean 0) and the phi of the spindle (uniform from `low` to `high`). In the crystal's frame

    D(x) = exp(-w) R(-phi) (q - a1 t1 - a2 t2 + (a1^2 + a2^2) s / (2 lambda)) / (1 + d) - G.

To first order D(x) = D - J x, and the mean of a Gaussian over Gaussians is one: of covariance C = S + J V J^T, V the variances of the
normal variables (Brehm et al., Acta Cryst. A79 (2023), ik5005), and an error function of phi, along v = u x G. What makes it good to
1e-4 is the next order, taken by perturbation theory, for x near its mean x' given that the pixel is hit:

- D is replaced by D + B(D, x') + H(x', x') / 2 + H:K / 2, with the terms of second order of D(x), B in q - G and x, H in x and x, and K the
  covariance of x about x': rotations run along arcs, a wavelength moves q along itself;
- the slope J is taken there, too, which adds to the exponent the trace of its change, -sum_b (K J^T S^-1)_b . dJ_b.

For these corrections alone phi is a normal variable of the variance of a uniform one, (high - low)^2 / 12, or less confined where the
stretch is wider than the spot, and x'_phi is held between low and high. Angles are radians, vectors 1/Angstrom, tensors float64 (or
float32: D is then to be taken as a difference, see `mean_intensity`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CONFINED = 10.0
"""Deviations that fit into a stretch of phi before its ends count for less in the corrections."""
NARROW = 0.5
"""Deviations of phi below which a stretch is summed at Gauss-Legendre nodes: the difference of two error functions would lose digits."""
NODES = (
    (-0.8611363115940526, 0.17392742256872693),
    (-0.3399810435848563, 0.32607257743127307),
    (0.3399810435848563, 0.32607257743127307),
    (0.8611363115940526, 0.17392742256872693),
)
"""Gauss-Legendre nodes on [-1, 1] and weights of sum 1."""
ROTATIONS = (0, 1, 2, 6)
"""The variables that turn the crystal: w about three axes, and phi; 3 is the wavelength, 4 and 5 the beam's angles."""


class SpotVariables(NamedTuple):
    """What a spot is averaged over; one beam, R spots.

    Attributes
    ----------
    variance
        Of w about its axes, of the relative wavelength and of the beam's two angles (R, 6) or (6,).
    axes
        The three axes of w, turned with the crystal (R, 3, 3).
    spindle
        Unit vector (3,).
    tilts
        t1, t2 (2, 3): by which q falls with the beam's angles, axis x s / lambda.
    beam
        s / lambda (3,).
    low, high
        The stretch of phi, from that of G (R,).
    """

    variance: Tensor
    axes: Tensor
    spindle: Tensor
    tilts: Tensor
    beam: Tensor
    low: Tensor
    high: Tensor


class SpotModel(NamedTuple):
    """The coefficients of R spots: all that `mean_intensity` needs.

    Attributes
    ----------
    across
        Two vectors e (R, 2, 3) of which the exponent, once phi is integrated over from end to end, has the squares of D.e: the precision
        matrix C^-1 less its part along v is the sum of both e e^T. Of a spot far thinner than it is long the matrix itself would lose the
        digits of a single precision.
    along
        C^-1 v (R, 3), of which D.along / curvature is the phi that fits.
    curvature
        v.C^-1.v (R,): 1 / variance of phi.
    fit
        Coefficients (R, 4) of x'_phi from D and 1, before it is held.
    second
        Terms of second order (R, 3, 4, 4) in D and x'_phi.
    shift
        What is added to D (R, 3).
    slope
        Coefficients (R, 4) of the logarithm of the slope's change, of D as it is bent, and of x'_phi.
    straight
        Unit vector along G (R, 3).
    arc
        Share of the spread across G that turns the crystal, over 3 |G|^2 (R,): a turn by an angle a takes a point G tan(a) away, and the
        terms of second order make G (a + a^3 / 3) of it.
    peak
        sqrt(|S| / |C|) (R,).
    low, high
        The stretch of phi (R,).
    """

    across: Tensor
    along: Tensor
    curvature: Tensor
    fit: Tensor
    second: Tensor
    shift: Tensor
    slope: Tensor
    straight: Tensor
    arc: Tensor
    peak: Tensor
    low: Tensor
    high: Tensor


def spot_model(G: Tensor, shape: Tensor, variables: SpotVariables) -> SpotModel:
    """The coefficients of spots.

    Parameters
    ----------
    G
        Reciprocal lattice vectors at the phi of the expansion (R, 3).
    shape
        Covariance of their shape there (R, 3, 3).
    variables
        What they are averaged over.
    """
    axes, low, high = variables.axes, variables.low, variables.high
    spindle = variables.spindle.expand_as(G)
    tilts, beam = variables.tilts[:, None].expand(2, *G.shape), variables.beam.expand_as(G)
    turns = [axes[:, 0], axes[:, 1], axes[:, 2], spindle]
    moved = [torch.linalg.cross(turn, G) for turn in turns]
    J = torch.stack([*moved[:3], G, tilts[0], tilts[1]], dim=1)
    variance = variables.variance.expand(len(G), 6)
    # C^-1 and |C| / |S| by one variable after the other: of a spot that is long in one way, |C| would be a difference of far larger numbers
    precision, wider = torch.linalg.inv(shape), torch.ones_like(low)
    for way, spread in zip(J.unbind(1), variance.unbind(1), strict=True):
        pull = (precision * way[:, None]).sum(-1)
        gain = 1 + spread * (way * pull).sum(-1)
        precision = precision - (spread / gain)[:, None, None] * pull[:, :, None] * pull[:, None]
        wider = wider * gain
    v = moved[3]
    along = torch.einsum("rij,rj->ri", precision, v)
    curvature = (along * v).sum(-1)
    second_order = _second_derivatives(G, turns, tilts, beam)

    # phi as a normal variable, for the corrections; a still has none
    width = high - low
    still = width <= 0
    spread = torch.where(still, torch.zeros_like(width), width) ** 2 / 12
    spread = spread * (1 + 12 / CONFINED**2 * spread * curvature)
    held = 1 + spread * curvature
    fit = torch.cat([along * (spread / held)[:, None], ((low + high) / 2 / held)[:, None]], dim=1)

    # x' from D and phi
    response = variance[:, :, None] * torch.einsum("rai,rij->raj", J, precision)
    of_phi = -torch.einsum("raj,rj->ra", response, v)
    mean = torch.cat([response, of_phi[:, :, None]], dim=2)
    unit = torch.zeros_like(mean[:, :1])
    unit[:, 0, 3] = 1
    mean = torch.cat([mean, unit], dim=1)
    first_order = _first_derivatives(G, turns)
    second = 0.5 * torch.einsum("rabi,rak,rbl->rikl", second_order, mean, mean)
    mixed = torch.einsum("rbij,rbl->rijl", first_order, mean)
    second = second + torch.nn.functional.pad(mixed, (0, 0, 0, 1))
    second = (second + second.transpose(2, 3)) / 2

    # the covariance about x', and what the slope's change adds
    every = torch.cat([variance, spread[:, None]], dim=1)
    slopes = torch.cat([J, v[:, None]], dim=1)
    whole = precision - (spread / held)[:, None, None] * along[:, :, None] * along[:, None]
    weights = every[:, :, None] * torch.einsum("rai,rij->raj", slopes, whole)
    about = torch.diag_embed(every) - torch.einsum("raj,rbj,rb->rab", weights, slopes, every)
    shift = 0.5 * torch.einsum("rabi,rab->ri", second_order, about)
    slope = torch.einsum("rbi,rbci,rcl->rl", weights, second_order, mean)
    slope = slope + torch.nn.functional.pad(torch.einsum("rbi,rbij->rj", weights, first_order), (0, 1))
    straight = G / torch.linalg.norm(G, dim=-1, keepdim=True)
    stays = torch.einsum("rij,rjk->rik", shape, whole)
    across = torch.einsum("rii->r", stays) - torch.einsum("ri,rij,rj->r", straight, stays, straight)
    return SpotModel(
        across=_roots(precision - along[:, :, None] * along[:, None] / curvature[:, None, None]),
        along=along,
        curvature=curvature,
        fit=fit,
        second=second,
        shift=shift,
        slope=slope,
        straight=straight,
        arc=(1 - across / 2) / (3 * (G * G).sum(-1)),
        peak=torch.rsqrt(wider),
        low=low,
        high=high,
    )


def _roots(matrix: Tensor) -> Tensor:
    """Vectors e (R, 2, 3) of which matrices (R, 3, 3) of rank 2, positive, are the sums of e e^T."""
    values, vectors = torch.linalg.eigh(matrix)  # ascending
    return torch.sqrt(torch.clamp_min(values[:, 1:], 0))[:, :, None] * vectors[:, :, 1:].transpose(1, 2)


def _second_derivatives(G: Tensor, turns: list[Tensor], tilts: Tensor, beam: Tensor) -> Tensor:
    """H (R, 7, 7, 3): second derivatives of D(x) at q = G; exp(-w) acts after R(-phi)."""
    cross = torch.linalg.cross
    zero = torch.zeros_like(G)
    H = [[zero] * 7 for _ in range(7)]
    for a, turn_a in zip(ROTATIONS, turns, strict=True):
        for b, turn_b in zip(ROTATIONS, turns, strict=True):
            if a == 6 or b == 6:
                outer = turn_a if b == 6 else turn_b
                H[a][b] = cross(outer, cross(turns[3], G))
            else:
                H[a][b] = (cross(turn_a, cross(turn_b, G)) + cross(turn_b, cross(turn_a, G))) / 2
        H[a][3] = H[3][a] = cross(turn_a, G)
        for angle in (0, 1):
            H[a][4 + angle] = H[4 + angle][a] = cross(turn_a, tilts[angle])
    H[3][3] = 2 * G
    for angle in (0, 1):
        H[3][4 + angle] = H[4 + angle][3] = tilts[angle]
        H[4 + angle][4 + angle] = beam
    return torch.stack([torch.stack(row, dim=1) for row in H], dim=1)


def _first_derivatives(G: Tensor, turns: list[Tensor]) -> Tensor:
    """B (R, 7, 3, 3): derivatives of D(x) by x that act on q - G."""
    B = torch.zeros(*G.shape[:1], 7, 3, 3, dtype=G.dtype, device=G.device)
    identity = torch.eye(3, dtype=G.dtype, device=G.device).expand(len(G), 3, 3)
    rows = list(B.unbind(dim=1))
    for variable, turn in zip(ROTATIONS, turns, strict=True):
        rows[variable] = torch.linalg.cross(identity, turn[:, None].expand_as(identity), dim=-1).transpose(1, 2)
    rows[3] = -identity
    return torch.stack(rows, dim=1)


def bent(model: SpotModel, D: Tensor) -> tuple[Tensor, Tensor]:
    """D (R, P, 3) with the terms of second order, and the phi that fits (R, P), held between low and high."""
    one = torch.ones_like(D[..., :1])
    phi = torch.einsum("rl,rpl->rp", model.fit, torch.cat([D, one], dim=-1))
    phi = torch.minimum(torch.maximum(phi, model.low[:, None]), model.high[:, None])
    known = torch.cat([D, phi[..., None]], dim=-1)
    across2 = (D * D).sum(-1) - torch.einsum("ri,rpi->rp", model.straight, D) ** 2
    moved = D * (1 - model.arc[:, None] * across2)[..., None] + model.shift[:, None]
    return moved + torch.einsum("rikl,rpk,rpl->rpi", model.second, known, known), phi


def mean_intensity(model: SpotModel, D: Tensor) -> Tensor:
    """The mean of each spot at points, relative to N^2 F^2.

    Parameters
    ----------
    model
        R spots.
    D
        q - G at P points of each (R, P, 3), in the precision wanted.

    Returns
    -------
    (R, P): < exp(-D.S^-1.D / 2) >, the mean over the stretch of phi and all else.
    """
    moved, phi = bent(model, D)
    exponent = torch.einsum("rl,rpl->rp", model.slope, torch.cat([moved, phi[..., None]], dim=-1))
    exponent = exponent - 0.5 * (torch.einsum("rei,rpi->rpe", model.across, moved) ** 2).sum(-1)
    deviations = torch.sqrt(model.curvature)[:, None]
    fitting = torch.einsum("ri,rpi->rp", model.along, moved) / deviations
    low, high = model.low[:, None] * deviations - fitting, model.high[:, None] * deviations - fitting
    return model.peak[:, None] * torch.exp(exponent) * _mean_of_normal(low, high)


def _mean_of_normal(low: Tensor, high: Tensor) -> Tensor:
    """The mean of exp(-x^2 / 2) from low to high."""
    width = high - low
    middle = (low + high) / 2
    near = torch.zeros_like(low)
    for node, weight in NODES:
        near = near + weight * torch.exp(-0.5 * (middle + 0.5 * node * width) ** 2)
    wide = torch.clamp_min(width, NARROW)
    root = 2.0**-0.5
    far = (torch.pi / 2) ** 0.5 / wide * (torch.erf(root * high) - torch.erf(root * low))
    return torch.where(width < NARROW, near, far)
