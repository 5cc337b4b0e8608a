"""What diffuse scattering costs: `python workflows/diffuse_cost.py`, half a minute on one core.

Prints a line for each correlation length: how often a pixel is looked at, the seconds of the process that an image of 1.1 million pixels
takes, and these over those of an integrated frame and of one step of the sum.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import yaml

from nbdist.experiment import Experiment, validate
from nbdist.experiment.template import TEMPLATE
from nbdist.frames.renderer import Renderer
from nbdist.scene import resolve
from nbdist.scene.amplitudes import load_reflections
from nbdist.scene.diffuse import mean_nodes
from nbdist.scene.tile import Tile

STEPS = 40


def experiment_of(method: str, length_A: float | None) -> Experiment:
    """The series of `nbdist init`, with disorder or without; the sum has a brick and 4 x 10 steps."""
    content = yaml.safe_load(TEMPLATE)
    if length_A is not None:
        disorder = {"kind": "correlated", "sigma_A": 0.4, "correlation_length_A": length_A}
        content["crystal"]["diffuse"] = disorder
    content["sampling"].update(method=method, oversample=1 if method == "sum" else "auto")
    if method == "sum":
        content["scan"]["phi_steps"] = 4
        content["crystal"].update(shape="square", mosaicity={"sigma_deg": 0.1, "domains": 10})
    return validate(content)


def renderer_of(experiment: Experiment) -> Renderer:
    """Its renderer, on one core."""
    scene = resolve(experiment)
    return Renderer(scene, load_reflections(scene), threads=1)


def seconds(render: Callable[[Tile, int], object], tile: Tile) -> float:
    """Least seconds of this process that an image takes of three, once all is there."""
    taken = []
    for frame in range(4):
        started = time.process_time()
        render(tile, frame)
        taken.append(time.process_time() - started)
    return min(taken[1:])


def main() -> None:
    """Measure."""
    summed = renderer_of(experiment_of("sum", None))
    tile = Tile(0, *summed.scene.instrument.panels[0].region)
    step = seconds(summed.partial, tile) / STEPS
    print("length   looks   seconds   of an integrated frame   steps of the sum")
    for length_A in (10.0, 20.0, 30.0, 50.0, 100.0):
        renderer = renderer_of(experiment_of("integrated", length_A))
        scene = renderer.scene
        panel, disorder = scene.instrument.panels[0], scene.specimen.lattices[0].disorder
        assert disorder is not None
        wavelength_A, osc_deg = float(scene.instrument.sources.wavelengths_A[0]), scene.experiment.scan.osc_range_deg
        looks = mean_nodes(disorder, panel, wavelength_A, scene.finest_A, osc_deg).looks
        taken, frame = seconds(renderer.diffuse, tile), seconds(renderer.partial, tile)
        print(f"{length_A:4g} A {looks:8} {taken:9.3f} {taken / frame:24.1f} {taken / step:18.0f}")


if __name__ == "__main__":
    main()
