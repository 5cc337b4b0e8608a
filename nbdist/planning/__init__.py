"""WHICH pieces make the series: tiles, phi chunks, units, shards and their cost; pure Python."""

from nbdist.planning.cutting import PhiChunk
from nbdist.planning.layout import Layout
from nbdist.planning.plan import Plan, Settings, make_plan
from nbdist.planning.units import Unit, Units
from nbdist.scene.tile import Tile

__all__ = ["Layout", "PhiChunk", "Plan", "Settings", "Tile", "Unit", "Units", "make_plan"]
