"""The NUMBERS of an experiment, in numpy: the instrument, the specimen, and the scene of both that `resolve` makes.

Nothing here computes an image. What a panel, a lattice or the sources are is said once, and read by kernels, plan, store and reports.
"""

from nbdist.scene.instrument import Instrument
from nbdist.scene.resolve import resolve
from nbdist.scene.scene import Scene
from nbdist.scene.specimen import Lattice, Specimen
from nbdist.scene.tile import Tile

__all__ = ["Instrument", "Lattice", "Scene", "Specimen", "Tile", "resolve"]
