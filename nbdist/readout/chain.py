"""The read-out of a detector: from the expected photons of a frame to the whole numbers that are read of it.

The stages, in the order of physics: charge sharing (of the expected photons, whose counts stay Poisson), Poisson counts, the loss by
dead time, the spread of the light, gain and calibration, the noise of reading, the converter, hot and dead pixels, saturation and
rounding, markers. Each is left out where the experiment does not ask for it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.experiment import Experiment
from nbdist.experiment.readout import Readout as ReadoutFields
from nbdist.readout.charge_sharing import charge_sharing_taps
from nbdist.readout.compiled_response import compiled_response
from nbdist.readout.draws import Draws, Stage
from nbdist.readout.point_spread import Image, Kernel, kernel_of, spread_along_axes, spread_by_transform
from nbdist.readout.response import PIXELS_AT_A_TIME, PanelResponse, Response, counted, read
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.scene import Scene

BLOCKS_AT_ONCE = 4
"""What a thread holds of a block while it is transformed: its photons, their transform, its product with the kernel's, the light."""


class Readout:
    """The read-out of an experiment; what is the same in all frames is made once, and shared by threads.

    Parameters
    ----------
    scene
        The experiment's numbers.

    Raises
    ------
    ExperimentError
        If the file of a point spread is no kernel.
    """

    def __init__(self, scene: Scene) -> None:
        experiment = scene.experiment
        self._fields, self._noise, self._geometry = experiment.readout, experiment.noise, scene.instrument.panels
        self._response, self._writes_counts = response_of(experiment), experiment.writes_counts
        self._kernels: list[Kernel | None] = [None for _ in self._geometry]
        if self._fields.point_spread is not None:
            made: dict[tuple[float, tuple[int, int]], Kernel] = {}
            for number, panel in enumerate(self._geometry):
                like = panel.pixel_m, panel.shape
                if like not in made:
                    spread = self._fields.point_spread
                    made[like] = kernel_of(spread, "readout.point_spread", 1e3 * panel.pixel_m, panel.shape)
                self._kernels[number] = made[like]
        self._made: list[PanelResponse] | None = None
        self._masks: list[NDArray[np.uint8]] | None = None
        self._making = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None, "_masks": None, "_making": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._making = threading.Lock()

    @property
    def kept_bytes(self) -> int:
        """What the threads of a process share of it."""
        pixels = sum(panel.usable.size for panel in self._geometry)
        calibration = 4 * pixels if self._fields.calibration_sigma else 0
        return calibration + sum(kernel.kept_bytes for kernel in set(self._kernels) if kernel is not None)

    @property
    def thread_bytes(self) -> int:
        """What a thread needs besides the photons and the counts of a frame: two images of a panel on the way, and a block's transforms."""
        if not self._writes_counts:
            return 0
        largest = max(panel.usable.size for panel in self._geometry)
        blocks = (kernel.transform_bytes for kernel in self._kernels if kernel is not None)
        return 8 * largest + BLOCKS_AT_ONCE * max(blocks, default=0)

    def counts(
        self, photons: Sequence[NDArray[np.float32]], frame: int, sample: int = 0
    ) -> list[NDArray[np.integer[Any]]]:
        """What is read of a frame.

        Parameters
        ----------
        photons
            Expected photons of each panel, float32 (slow, fast), as stored.
        frame, sample
            Their numbers, which decide the random ones.

        Returns
        -------
        An image of each panel (slow, fast) in the experiment's `readout.integers`: `GAP` and `BAD` of `integers` where nothing is read,
        and 0 outside the region of interest.
        """
        draws = Draws(self._noise.seed, frame, sample)
        panels = zip(self._geometry, self.panels, self._kernels, photons, strict=True)
        return [self._panel_counts(*its, draws) for its in panels]

    def _panel_counts(
        self,
        geometry: PanelGeometry,
        panel: PanelResponse,
        kernel: Kernel | None,
        photons: NDArray[np.float32],
        draws: Draws,
    ) -> NDArray[np.integer[Any]]:
        response, native = self._response, compiled_response()
        spread_light = spread_along_axes if native is None else native.spread_along_axes
        if self._fields.charge_sharing_fraction:
            photons = spread_light(photons, charge_sharing_taps(self._fields.charge_sharing_fraction))
        arrived: Image = draws.poisson(photons, panel.first_pixel) if self._noise.photon_noise else photons
        if kernel is not None and kernel.weights is not None:
            seen = self._seen if response.dead_time else None
            arrived, response = spread_by_transform(arrived, kernel, seen), replace(response, dead_time=0.0)
        image = (read if native is None else native.read)(arrived, panel, response, draws)
        top, bottom, left, right = geometry.region
        for outside in (image[:top], image[bottom:], image[:, :left], image[:, right:]):
            outside[...] = 0
        return image

    def _seen(self, photons: Image) -> NDArray[np.float32]:
        return counted(photons, self._response.dead_time, self._response.paralysable).astype(np.float32)

    @property
    def panels(self) -> list[PanelResponse]:
        """What each panel has of its own, made when it is first asked for."""
        with self._making:
            if self._made is None:
                for kernel in self._kernels:
                    if kernel is not None and kernel.weights is not None:
                        _ = kernel.transform  # here, where no other thread makes its own
                self._made = [
                    PanelResponse(
                        usable=geometry.usable,
                        first_pixel=first_pixel,
                        taps=None if kernel is None else kernel.taps,
                        calibration=self._calibration(geometry.shape, first_pixel),
                        **_bad_pixels(self._fields, self._noise.seed, geometry.shape, first_pixel),
                    )
                    for geometry, kernel, first_pixel in zip(
                        self._geometry, self._kernels, _first_pixels(self._geometry), strict=True
                    )
                ]
            return self._made

    @property
    def masks(self) -> list[NDArray[np.uint8]]:
        """What `masks_of` gives of each panel, made when it is first asked for, and read-only."""
        with self._making:
            if self._masks is None:
                self._masks = _masks(self._fields, self._noise.seed, self._geometry)
                for mask in self._masks:
                    mask.flags.writeable = False
            return self._masks

    def _calibration(self, shape: tuple[int, int], first_pixel: int) -> NDArray[np.float32] | None:
        sigma = self._fields.calibration_sigma
        if not sigma:
            return None
        gain = np.empty(shape, dtype=np.float32)
        for piece in _pieces(gain.size):
            deviates = Draws(self._noise.seed).normals(Stage.CALIBRATION, len(piece), first_pixel + piece.start)
            gain.reshape(-1)[piece.start : piece.stop] = np.maximum(1 + sigma * deviates.astype(np.float64), 0)
        return gain


def masks_of(scene: Scene) -> list[NDArray[np.uint8]]:
    """What each pixel (slow, fast) of a panel is: 0 usable, 1 a gap, masked or not rendered, 2 a bad one that is marked."""
    return _masks(scene.experiment.readout, scene.experiment.noise.seed, scene.instrument.panels)


def _masks(fields: ReadoutFields, seed: int, panels: Sequence[PanelGeometry]) -> list[NDArray[np.uint8]]:
    masks = []
    for geometry, first_pixel in zip(panels, _first_pixels(panels), strict=True):
        mask = np.zeros(geometry.shape, dtype=np.uint8)
        mask.flat[_bad_pixels(fields, seed, geometry.shape, first_pixel)["bad"]] = 2
        mask[~geometry.usable] = 1
        masks.append(mask)
    return masks


def _first_pixels(panels: Sequence[PanelGeometry]) -> list[int]:
    """Number of each panel's first pixel among those of all."""
    return [0, *accumulate(panel.usable.size for panel in panels)][:-1]


def _bad_pixels(
    fields: ReadoutFields, seed: int, shape: tuple[int, int], first_pixel: int
) -> dict[str, NDArray[np.int64]]:
    """Numbers of the pixels of a panel that are dead, that are hot, and that are marked."""
    dead_share, hot_share = fields.dead_pixel_fraction, fields.hot_pixel_fraction
    dead, hot = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for piece in _pieces(math.prod(shape)) if dead_share or hot_share else ():
        drawn = Draws(seed).uniforms(Stage.BAD_PIXELS, len(piece), first_pixel + piece.start)
        dead.append(piece.start + np.flatnonzero(drawn < dead_share))
        hot.append(piece.start + np.flatnonzero((drawn >= dead_share) & (drawn < dead_share + hot_share)))
    places = {"dead": np.concatenate(dead), "hot": np.concatenate(hot)}
    marked = np.concatenate(list(places.values())) if fields.bad_pixels_marked else dead[0]
    return {**places, "bad": marked}


def _pieces(pixels: int) -> Iterator[range]:
    for first in range(0, pixels, PIXELS_AT_A_TIME):
        yield range(first, min(first + PIXELS_AT_A_TIME, pixels))


def response_of(experiment: Experiment) -> Response:
    """The numbers of an experiment's response."""
    fields, exposure_s = experiment.readout, experiment.beam.seconds_a_frame
    return Response(
        dead_time=1e-9 * fields.dead_time_ns / exposure_s if fields.dead_time_ns and exposure_s else 0.0,
        paralysable=fields.paralysable,
        electrons_per_photon=fields.electrons_per_photon,
        read_noise_electrons=fields.read_noise_electrons,
        adu_per_electron=fields.adu_per_electron,
        offset_adu=fields.offset_adu,
        hot_pixel_adu=fields.hot_pixel_adu,
        saturation=experiment.saturation_adu,
        rolls_over=fields.rolls_over,
        dtype=fields.integers,
    )
