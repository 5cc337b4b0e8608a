"""How a crystal's diffraction fades with the dose that it has absorbed."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from pydantic import Field

from nbdist.experiment.fields import NotNegative, Positive, Section

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Decay(Section):
    """Fading with dose: reflections of a spacing d keep the share that `nbdist.scene.specimen.Lattice.left_by_dose` states."""

    dose_MGy_per_frame: Positive = Field(
        description="dose of a frame at the mean fluence: flicker and jitter are not added up"
    )
    dose_MGy_at_start: NotNegative = Field(0.0, description="dose that the crystal had absorbed before the first frame")
    half_dose_MGy_per_A: Positive | None = Field(
        10.0, description="H: a dose of H d halves the intensity at a spacing of d Angstrom; null: none"
    )
    half_dose_MGy: Positive | None = Field(None, description="dose that halves all intensities, at any spacing")
    B_factor_A2_per_MGy: NotNegative = Field(0.0, description="growth of the B factor, Angstrom^2 a MGy")

    @overload
    def dose_MGy(self, frame: float) -> float: ...

    @overload
    def dose_MGy(self, frame: NDArray[np.float64]) -> NDArray[np.float64]: ...

    def dose_MGy(self, frame: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
        """Dose at the middle of a frame, or of each of several."""
        return self.dose_MGy_at_start + (frame + 0.5) * self.dose_MGy_per_frame
