"""Harm that tests do to processes of nbdist: code that runs before each frame, in every process that gets the environment.

It may slow frames down, raise, hang, kill, or hold frames back until the test has done what it came for; so nothing depends on how
quick a machine is. It is given a `frame` and a folder, `here`, with the file `mended` once the test made it.
"""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

SITE = """
import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec


class Harm(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "nbdist.execution.rendering":
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


def harmed(original):
    import os, signal, time
    from pathlib import Path

    here = Path({here!r})

    def render_frame(context, frame):
{harm}
        return original(context, frame)

    return render_frame
"""


def hold_from(frame: int) -> str:
    """Harm that holds back all frames from this one on until the test mends it: a run cannot be over before."""
    return f"while frame >= {frame} and not (here / 'mended').exists(): time.sleep(0.01)"


class Harm:
    """Code for the processes that get `environment`; `mended.touch()` ends harm that looks for it, in processes that run, too."""

    def __init__(self, folder: Path, code: str) -> None:
        site = folder / "harm"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SITE.format(here=str(site), harm=textwrap.indent(code, 8 * " ")))
        self.mended = site / "mended"
        self.environment = {"PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))}
