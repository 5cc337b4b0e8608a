"""What each frame of a series has of the beam: its fluence, which flickers, and the dose that a crystal has had by then.

Every number is worked out for any frames alone, in any order. The factor of a frame's fluence is (1 + flicker)(1 + jitter), neither
less than 0. White flicker and jitter are normal deviates of the frame. Pink flicker is a sum of octaves (R. F. Voss and J. Clarke,
J. Acoust. Soc. Am. 63 (1978) 258): octave k is a normal deviate that stays for 2^k frames, and all of them, as many as the series has
room for, have the same variance, which makes a power of about 1/f between one over the series and one over two frames.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nbdist.experiment import Experiment
from nbdist.experiment.decay import Decay
from nbdist.readout.draws import Draws, Stage
from nbdist.scene import Scene

Array = NDArray[np.float64]


def fluence_factors(experiment: Experiment, frames: range, sample: int = 0) -> Array:
    """What multiplies the fluence in consecutive frames of a series, or of a sample of a data set; float64 (frames,)."""
    beam, count = experiment.beam, len(frames)
    factors, seed = np.ones(count), beam.flicker.seed
    if beam.flicker.sigma:
        octaves = experiment.scan.frames.bit_length() if beam.flicker.spectrum == "pink" else 1
        total = np.zeros(count)
        for octave in range(octaves):
            held = np.asarray(frames) >> octave
            drawn = Draws(seed, octave, sample).normals(Stage.FLICKER, int(held[-1] - held[0]) + 1, int(held[0]))
            total += drawn[held - held[0]]
        factors *= np.maximum(0.0, 1 + beam.flicker.sigma * total / np.sqrt(octaves))
    if beam.exposure_jitter_sigma:
        drawn = Draws(seed, sample=sample).normals(Stage.JITTER, count, frames.start)
        factors *= np.maximum(0.0, 1 + beam.exposure_jitter_sigma * drawn.astype(np.float64))
    return factors


def fluence_factor(experiment: Experiment, frame: int, sample: int = 0) -> float:
    """What multiplies the fluence in a frame of a series, or of a sample of a data set."""
    return 1.0 if experiment.beam.steady else float(fluence_factors(experiment, range(frame, frame + 1), sample)[0])


def doses_MGy(scene: Scene, frames: range) -> Array:
    """Dose of the crystal at the middle of frames (frames,), or of each of several (frames, lattices); 0 for one that does not decay."""
    return _of_lattices(scene, frames, lambda decay, frame: decay.dose_MGy(frame))


def B_factors_A2(scene: Scene, frames: range) -> Array:
    """Growth of the B factor by the middle of frames, Angstrom^2; shaped as doses are."""
    return _of_lattices(scene, frames, lambda decay, frame: decay.B_factor_A2_per_MGy * decay.dose_MGy(frame))


def _of_lattices(scene: Scene, frames: range, of: Callable[[Decay, int], float]) -> Array:
    lattices = scene.specimen.lattices
    rows = np.array([[of(its.decay, frame) if its.decay else 0.0 for its in lattices] for frame in frames])
    return rows[:, 0] if len(lattices) == 1 else rows
