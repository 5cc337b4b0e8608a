"""Harm that tests do to processes of nbdist: code that runs before each frame, in every process that gets the environment.

It may slow frames down, raise, hang or kill; and frames are held back until the test has done what it came for, so that nothing depends
on how quick a machine is. They are held by the number of units that are recorded, never by their own numbers: in which order frames are
rendered is the scheduler's to choose, and if workers were all held at late frames, the earlier ones would wait behind these without end.
The code is given a `frame` and a folder, `here`, with the file `mended` once the test made it.
"""

from __future__ import annotations

import math
import os
import textwrap
from pathlib import Path

SITE = """
import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec


class Harm(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "nbdist.run.rendering":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            module.render_frame = harmed(module.render_frame)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Harm())
{at_start}


def harmed(original):
    import os, signal, time
    from pathlib import Path

    from nbdist.store.places import objects_at

    here, most = Path({here!r}), {{}}

    def enough(context):
        limit = float((here / "held_after").read_text())
        if limit == float("inf"):
            return False
        names = objects_at(context.location).names("records")
        found = sum(name.partition(".")[0].isdecimal() for name in names)
        most[context.location] = max(most.get(context.location, 0), found)  # a test may take the store away
        return most[context.location] >= limit

    def render_frame(context, frame):
        while enough(context):
            time.sleep(0.02)
{harm}
        return original(context, frame)

    return render_frame
"""


class Harm:
    """Code for the processes that get `environment`.

    Parameters
    ----------
    folder
        Where to keep it.
    code
        Runs before each frame. `mended.touch()` ends harm that looks for the file, in processes that run, too.
    held_after
        Once so many units are recorded, frames are held back until `hold_after` or `release` say otherwise: a run cannot be over before.
        Those that were begun before are recorded, too, so that there may be one unit more for each other worker.
    at_start
        Runs when a process starts.
    """

    def __init__(self, folder: Path, code: str = "pass", held_after: float = math.inf, at_start: str = "") -> None:
        self._site = folder / "harm"
        self._site.mkdir()
        self.hold_after(held_after)
        self.mended = self._site / "mended"
        text = SITE.format(here=str(self._site), harm=textwrap.indent(code, 8 * " "), at_start=at_start)
        (self._site / "sitecustomize.py").write_text(text)
        path = [str(self._site), os.environ.get("PYTHONPATH")]
        self.environment = {"PYTHONPATH": os.pathsep.join(filter(None, path))}

    def hold_after(self, units: float) -> None:
        """Hold back frames once so many units are recorded, and not before."""
        new = self._site / "held_after.new"
        new.write_text(str(units))
        new.replace(self._site / "held_after")

    def release(self) -> None:
        """Hold back no frames any more."""
        self.hold_after(math.inf)
