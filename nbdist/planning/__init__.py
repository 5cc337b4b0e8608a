"""WHICH pieces make the series: tiles, phi chunks, units, shards and their cost; pure Python.

It reads a scene's sizes and nothing else: no pixel is computed, no file touched. `nbdist.run` works a plan off, and `nbdist.store` is
laid out by it.
"""

from nbdist.planning.cutting import PhiChunk
from nbdist.planning.layout import Layout
from nbdist.planning.plan import Cut, Plan, Settings, make_plan
from nbdist.planning.units import Unit, Units
from nbdist.scene.tile import Tile

__all__ = ["Cut", "Layout", "PhiChunk", "Plan", "Settings", "Tile", "Unit", "Units", "make_plan"]
