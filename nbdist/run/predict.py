"""The reflections of a frame as a table: no frame is rendered for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from nbdist.errors import RunError
from nbdist.experiment import Experiment
from nbdist.frames.exposure import fluence_factor
from nbdist.kernels.prediction import Prediction, frame_reflections
from nbdist.kernels.spots import Diffraction
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections

if TYPE_CHECKING:
    import pandas

_last: dict[str, Prediction] = {}
"""The prediction that was used last, by fingerprint: a list of a million reflections is not searched again for the next frame."""
_lock = threading.Lock()


def predict(experiment: Experiment, frame: int = 0) -> pandas.DataFrame:
    """Predict the reflections of a frame: which of them light up in it, and where.

    Parameters
    ----------
    experiment
        What is simulated, by either method, with any shape of crystal and counted domains; the spots of the sum have a Gaussian's width
        in place of their own.
    frame
        Number of the frame, from 0.

    Returns
    -------
    DataFrame of those that meet a panel, a row each time that one crosses the Ewald sphere: `reflection` (its identity in the series),
    `h`, `k`, `l`, `lattice`, `panel`; `slow` and `fast` in pixels, where what the frame has of it is seen (a pixel's centre is at + 1/2);
    `phi_deg` of the crossing; `d_A`; `lorentz`; `rocking_width_deg`, full width at half maximum; `sigma_slow` and `sigma_fast` in pixels
    and the mixed second moment `extent_slow_fast` in pixels^2, of the spot in this frame; and the `photons` expected in this frame.

    Raises
    ------
    NbdistError
        If the experiment or one of its files is wrong, or the frame is not there.
    """
    import pandas

    frames = experiment.scan.frames
    if not 0 <= frame < frames:
        raise RunError(f"frame {frame} lies outside the series of {frames} frames")
    with _lock:
        fingerprint = experiment.fingerprint
        prediction = _last.get(fingerprint)
        if prediction is None:
            scene = resolve(experiment)
            prediction = Prediction(Diffraction(scene, load_reflections(scene)))
            if experiment.fingerprint != fingerprint:
                raise RunError("a file that the experiment names has changed while it was read; predict it anew")
            _last.clear()
            _last[fingerprint] = prediction
    rows = frame_reflections(prediction, frame)
    rows["photons"] = rows["photons"] * fluence_factor(experiment, frame)
    return pandas.DataFrame(rows)
