"""The scan: which oscillation each frame of the series covers, and in how many phi steps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nbdist.experiment.fields import Count, Direction, Section

MOST_AUTOMATIC_PHI_STEPS = 100_000
"""Phi steps of a frame beyond which a number in a wrong unit is more likely than a wish."""


class Scan(Section):
    """A rotation series: frame n covers phi_start + n osc to phi_start + (n + 1) osc. An oscillation of 0 is a series of stills."""

    frames: Count = Field(1, description="frames of the series")
    phi_start_deg: float = Field(0.0, description="phi at the beginning of frame 0")
    osc_range_deg: float = Field(0.0, description="degrees a frame")
    phi_steps: Annotated[int, Field(ge=1, le=10_000_000)] | Literal["auto"] = Field(
        1,
        description="orientations that stand for one frame's oscillation; auto: three over the narrowest rocking width on the detector",
    )
    phi_rule: Literal["midpoint", "left"] = Field(
        "midpoint", description="midpoint samples the middle of each phi step; left, its start, as nanoBragg does"
    )
    spindle_axis: Direction | None = Field(
        None, description="axis of the rotation; the detector convention's when left out"
    )
    phi_zero_carryover: bool = Field(
        False,
        description="for `nbdist trace` only: reproduce a defect of nanoBragg.c, whose step at phi == 0 keeps the orientation "
        "of the step before it, that is of the previous pixel's last step",
    )

    def frame_start_deg(self, frame: int) -> float:
        """Phi at which `frame` starts, degrees."""
        return self.phi_start_deg + frame * self.osc_range_deg

    def phi_deg(self, frame: int, phi_steps: int) -> list[float]:
        """Phi of every step of `frame` in so many steps, degrees."""
        start, width = self.frame_start_deg(frame), self.osc_range_deg / phi_steps
        offset = 0.5 if self.phi_rule == "midpoint" else 0.0
        steps = [start + (step + offset) * width for step in range(phi_steps)]
        return _carried_over(steps) if self.phi_zero_carryover else steps


def _carried_over(steps: list[float]) -> list[float]:
    """Every step at phi == 0 at the phi of the last step before it that is not: the first one's is the last step of all."""
    turned = [phi for phi in steps if phi != 0]
    last = turned[-1] if turned else 0.0
    carried = []
    for phi in steps:
        last = phi if phi != 0 else last
        carried.append(last)
    return carried
