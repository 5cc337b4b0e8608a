"""The NUMBERS of an experiment, in numpy: panels, sources, lattices, orientations, amplitudes; `resolve` makes them."""

from nbdist.scene.resolve import ResolvedExperiment, resolve

__all__ = ["ResolvedExperiment", "resolve"]
