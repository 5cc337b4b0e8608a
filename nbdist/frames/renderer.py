"""From a tile and a range of phi steps to its partial intensity, and from summed partials to photons.

A partial intensity is additive and never normalised: `steps` is the whole experiment's and is divided out once, by `photons`.

The detector is worked through in blocks on a fixed grid, each with its own reference scattering vector, and phi steps in fixed
groups, each with its own reference orientation (see `kernels.reference.orientation_sum`). Neither grid depends on how the work was cut
into tiles and chunks, so neither do the numbers, beyond the order of the last float64 additions.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbdist.experiment.lattice import axis_rotation
from nbdist.frames.exposure import fluence_factor
from nbdist.frames.labels import FrameLabels, spot_labels, whole_pixel_spots
from nbdist.kernels.backend import KEPT_FACTORS_BYTES, Backend, KernelMode, Turned
from nbdist.kernels.choice import eager_backend, make_backend
from nbdist.kernels.diffuse import Exposed, Halos
from nbdist.kernels.spots import Diffraction, SpotMeasures, Underneath
from nbdist.native.build import BuildError
from nbdist.readout.backgrounds import Backgrounds
from nbdist.scene.amplitude_table import AmplitudeTable
from nbdist.scene.amplitudes import Reflections, distinct
from nbdist.scene.diffuse import mean_nodes
from nbdist.scene.scene import Scene
from nbdist.scene.specimen import Lattice
from nbdist.scene.tile import Tile, bands


class _Found(threading.local):
    """What a thread found while it rendered a frame, for the labels of the frame that follow: of one frame at a time, by tile.

    Attributes
    ----------
    bragg
        Photons a pixel that the crystals diffract, as they were made by the integrated method.
    measures
        Of its spots.
    scattered
        Photons a pixel that the disorder of the crystals scatters.
    """

    def __init__(self) -> None:
        self._frame: int | None = None
        self.forget()

    def forget(self) -> None:
        """Free all of it."""
        self.bragg: dict[Tile, NDArray[np.floating[Any]]] = {}
        self.measures: dict[Tile, SpotMeasures] = {}
        self.scattered: dict[Tile, NDArray[np.float64]] = {}

    def of(self, frame: int) -> _Found:
        """This object, without what it holds of another frame."""
        if frame != self._frame:
            self.forget()
            self._frame = frame
        return self


class Renderer:
    """A scene on one device: everything that does not change from frame to frame is prepared once.

    Parameters
    ----------
    scene
        The experiment's numbers.
    reflections
        The amplitudes of each lattice; they become tables in the experiment's precision, and are not kept.
    device
        "cpu", "cuda" or "cuda:N".
    mode
        "compiled" or "eager".
    threads
        Of the native kernel; all usable cores where left out.
    backend, backgrounds
        What computes, and the backgrounds, for the scene's instrument; made where left out.

    Raises
    ------
    MissingExtraError
        If it needs PyTorch, which is not installed.
    """

    def __init__(
        self,
        scene: Scene,
        reflections: Sequence[Reflections],
        device: str = "cpu",
        mode: KernelMode = "compiled",
        threads: int | None = None,
        backend: Backend | None = None,
        backgrounds: Backgrounds | None = None,
    ) -> None:
        self.scene = scene
        labels, self._integrates = scene.experiment.labels, scene.method == "integrated"
        self._tells_spots = labels.spots or labels.spot
        lists = self._integrates or labels.of_reflections
        self.diffraction = Diffraction(scene, reflections) if lists else None
        self.tables: list[AmplitudeTable] = []
        if not self._integrates:
            tables = {id(its): AmplitudeTable.of(its, scene.instrument.precision) for its in distinct(reflections)}
            self.tables = [tables[id(its)] for its in reflections]
        self.backend = backend or make_backend(scene.instrument, device, mode, threads)
        self._found = _Found()
        self._spacings: dict[Tile, NDArray[np.float64]] = {}
        self._halos = self._of_disorder(reflections)
        try:
            self._prepared, self._scatterers = self._prepare(), self._prepare_diffuse()
        except BuildError as error:
            self.backend = eager_backend(scene.instrument, str(error))
            self._prepared, self._scatterers = self._prepare(), self._prepare_diffuse()
        self._backgrounds = backgrounds or Backgrounds(scene.instrument, self.backend)
        _ = scene.instrument.transmissions  # before threads ask for them at once

    def _prepare(self) -> list[object]:
        if self._integrates:
            self.backend.prepare_integrated()
            return []
        pairs = zip(self.scene.specimen.lattices, self.tables, strict=True)
        return [self.backend.prepare(lattice, table) for lattice, table in pairs]

    def _of_disorder(self, reflections: Sequence[Reflections]) -> list[tuple[Lattice, Halos]]:
        """The halos of the lattices that have any; amplitudes that several share, or the sum has, are tabulated once."""
        tables = {id(its): table for its, table in zip(reflections, self.tables, strict=False)}
        found = []
        for lattice, its in zip(self.scene.specimen.lattices, reflections, strict=True):
            if lattice.disorder is not None:
                if id(its) not in tables:
                    tables[id(its)] = AmplitudeTable.of(its, self.scene.instrument.precision)
                found.append((lattice, Halos.of(lattice.disorder, tables[id(its)])))
        return found

    def _prepare_diffuse(self) -> list[object]:
        return [self.backend.prepare_diffuse(halos) for _, halos in self._halos]

    def partial(
        self, tile: Tile, frame: int, first_step: int = 0, last_step: int | None = None
    ) -> NDArray[np.floating[Any]]:
        """Un-normalised partial intensity of a tile over phi steps [first_step, last_step) of a frame.

        Returns
        -------
        float64 (rows, columns): the sum over lattices, subpixels, layers, sources, phi steps and mosaic domains of
        w omega polar capture F_cell^2 F_latt^2. Where the method is integrated, (rows, columns) in the experiment's precision: the sum
        over reflections, layers and sources of the mean of the same.
        """
        scene = self.scene
        if self.diffraction is not None and self._integrates:
            if not self._tells_spots or tile != self._region(tile.panel):
                return self.backend.integrated(tile, self.diffraction, frame)[0]
            partial, self._found.of(frame).measures[tile] = self._measured(tile, frame)
            return partial
        lattices = [
            Turned(
                prepared,
                scene.specimen.share(lattice),
                list(scene.orientation_groups(lattice, frame, first_step, last_step)),
            )
            for lattice, prepared in zip(scene.specimen.lattices, self._prepared, strict=True)
        ]
        if not scene.specimen.decays:
            return self.backend.partial(tile, lattices)
        total = np.zeros(tile.shape)
        for its, left in zip(lattices, self.left_by_dose(tile, frame), strict=True):
            total += self.backend.partial(tile, [its]) * left
        return total

    def _region(self, panel: int) -> Tile:
        """All that is rendered of a panel."""
        return Tile(panel, *self.scene.instrument.panels[panel].region)

    def left_by_dose(self, tile: Tile, frame: int) -> Iterator[NDArray[np.float64]]:
        """Share of the photons of each lattice that dose has left in a frame, by the spacing that scatters to a pixel; (rows, columns)."""
        s_per_A = self._reciprocal_spacings(tile)
        return (lattice.left_by_dose(frame, s_per_A) for lattice in self.scene.specimen.lattices)

    def _reciprocal_spacings(self, tile: Tile) -> NDArray[np.float64]:
        """1/d in 1/Angstrom that scatters to the middle of each pixel, for the mean wavelength; kept, as no frame has others."""
        kept = self._spacings.get(tile)
        if kept is None:
            panel, wavelength_A = self.scene.instrument.panels[tile.panel], self.scene.experiment.beam.mean_wavelength_A
            kept = np.empty(tile.shape)
            for band in bands(tile):  # the vectors to all pixels would take ten images
                slow, fast = np.ogrid[band.slices]
                rows, _ = band.within(tile)
                kept[rows] = 1 / panel.resolution_A(slow + 0.5, fast + 0.5, wavelength_A)
            if sum(image.nbytes for image in list(self._spacings.values())) + kept.nbytes <= KEPT_FACTORS_BYTES:
                self._spacings[tile] = kept
        return kept

    def photons(self, partial: NDArray[np.floating[Any]], tile: Tile, frame: int) -> NDArray[np.floating[Any]]:
        """Expected photons a pixel (rows, columns), in the precision of the partials, from the sum of all partials of a frame's tile.

        Divides once by the experiment's steps, adds the background, and sets dead pixels to 0.
        """
        image, parts = partial * self.photons_per_unit(frame), self._background_parts(tile, frame)
        if self._integrates and self.scene.experiment.labels.bragg and tile == self._region(tile.panel):
            self._found.of(frame).bragg[tile] = image
            image = image + (parts.pop(0) if parts else 0)
        for background in parts:
            image += background
        usable = self.scene.instrument.panels[tile.panel].usable[tile.slices]
        return image if usable.all() else np.where(usable, image, 0.0)

    @property
    def photons_per_electron2(self) -> float:
        """Photons that one electron scatters into one steradian: r_e^2 times the fluence."""
        return self.scene.instrument.photons_per_electron2

    def photons_per_unit(self, frame: int) -> float:
        """Photons of one unit of the partial intensities of a frame."""
        return (
            self.photons_per_electron2
            / self.scene.steps
            * fluence_factor(self.scene.experiment, frame, self.scene.sample)
        )

    @property
    def scatters_diffusely(self) -> bool:
        """Whether a crystal has disorder."""
        return bool(self._halos)

    @property
    def has_background(self) -> bool:
        """Whether anything lies under the spots."""
        return self.scene.instrument.background.any or self.scatters_diffusely

    def background(self, tile: Tile, frame: int) -> NDArray[np.floating[Any]]:
        """Photons a pixel that lie under the spots of a frame (rows, columns), in the precision of the image.

        What is scattered beside the crystals, and diffusely by them; not divided by steps, 0 in dead pixels.
        """
        parts = self._background_parts(tile, frame)
        if not parts:
            return np.zeros(tile.shape, dtype=self.scene.instrument.precision)
        return functools.reduce(np.add, parts)

    def diffuse(self, tile: Tile, frame: int) -> NDArray[np.float64]:
        """Photons a pixel that the disorder of the crystals scatters in a frame, float64 (rows, columns); 0 in dead pixels.

        It is the mean over the frame's oscillation, whose nodes are its own: neither the method nor the phi steps of the sum change it.
        Mosaic blocks and normal spreads of the beam, which are narrow against a halo, are left out; sources that are counted each give
        their own.
        """
        scene, panel = self.scene, self.scene.instrument.panels[tile.panel]
        region = self._region(tile.panel)
        kept = self._found.of(frame).scattered.get(region)
        if kept is not None and region.has(tile):
            return kept[tile.within(region)]
        scan, shortest_A, exposed = scene.experiment.scan, float(scene.instrument.sources.wavelengths_A.min()), []
        for (lattice, _), prepared in zip(self._halos, self._scatterers, strict=True):
            assert lattice.disorder is not None
            nodes = mean_nodes(lattice.disorder, panel, shortest_A, scene.finest_A, scan.osc_range_deg)
            phi_deg = scan.frame_start_deg(frame) + nodes.phi * scan.osc_range_deg
            real = [lattice.real_vectors_A @ axis_rotation(scene.spindle_axis, phi).T for phi in np.deg2rad(phi_deg)]
            share = lattice.weight * lattice.disorder.cells * self.photons_per_electron2
            share *= fluence_factor(scene.experiment, frame, scene.sample)
            exposed.append(Exposed(prepared, share, np.array(real), nodes))
        if scene.specimen.decays:
            s_per_A, image = self._reciprocal_spacings(tile), np.zeros(tile.shape)
            for (lattice, _), its in zip(self._halos, exposed, strict=True):
                scattered = self.backend.diffuse(tile, [its])
                scattered *= lattice.left_by_dose(frame, s_per_A)
                image += scattered
        else:
            image = self.backend.diffuse(tile, exposed)
        if scene.experiment.labels.of_frames and tile == region:
            self._found.of(frame).scattered[region] = image
        return image

    def _background_parts(self, tile: Tile, frame: int) -> list[NDArray[np.floating[Any]]]:
        """What it is made of: what scatters, with the fluence of the frame, what is steady, and what crystals scatter diffusely."""
        scattered, steady = self._backgrounds.within(tile)
        factor = fluence_factor(self.scene.experiment, frame, self.scene.sample)
        if scattered is not None and factor != 1:
            scattered = scattered * factor
        parts = [image for image in (scattered, steady) if image is not None]
        if self._halos:
            parts.append(self.diffuse(tile, frame).astype(self.scene.instrument.precision, copy=False))
        return parts

    def labels(self, frame: int, photons: Sequence[NDArray[np.floating[Any]]]) -> FrameLabels:
        """What is known of a frame besides its photons.

        Parameters
        ----------
        photons
            Expected photons of each panel, (slow, fast), as this renderer made them.
        """
        regions = [self._region(panel) for panel in range(len(self.scene.instrument.panels))]
        try:
            return self._labels(regions, frame, photons)
        finally:
            self._found.forget()

    def _labels(self, regions: Sequence[Tile], frame: int, photons: Sequence[NDArray[np.floating[Any]]]) -> FrameLabels:
        labels = self.scene.experiment.labels
        background = [self._panel_background(region, frame) for region in regions]
        if not self._integrates:
            bragg = [np.maximum(all_of_it - under, 0) for all_of_it, under in zip(photons, background, strict=True)]
        elif labels.bragg:
            bragg = [self._panel_bragg(region, frame) for region in regions]
        else:
            bragg = []
        diffraction = self.diffraction if self._tells_spots else None
        if diffraction is None:
            return FrameLabels(bragg, background, [], {})
        if self._integrates:
            measures = [self._panel_measures(region, frame) for region in regions]
            spots = diffraction.spots(frame)
        else:
            spots, measures = whole_pixel_spots(
                diffraction, self.tables, frame, bragg, background, labels.spot_share if labels.spot else None
            )
        return spot_labels(diffraction, spots, bragg, background, measures)

    def _panel_background(self, region: Tile, frame: int) -> NDArray[np.float32]:
        """What lies under the spots of a whole panel, (slow, fast): 0 outside of the region that is rendered."""
        shape = self.scene.instrument.shapes[region.panel]
        if not self._halos:  # kept, and 0 there
            return self.background(Tile(region.panel, 0, shape[0], 0, shape[1]), frame).astype(np.float32, copy=False)
        return region.on_panel(self.background(region, frame), shape).astype(np.float32, copy=False)

    def _panel_bragg(self, region: Tile, frame: int) -> NDArray[np.float32]:
        """Photons of a whole panel that the crystals diffract, (slow, fast), as `photons` left them, or made once more."""
        image = self._found.of(frame).bragg.get(region)
        if image is None:
            assert self.diffraction is not None
            image = self.backend.integrated(region, self.diffraction, frame)[0] * self.photons_per_unit(frame)
        return region.on_panel(image, self.scene.instrument.shapes[region.panel]).astype(np.float32, copy=False)

    def _panel_measures(self, region: Tile, frame: int) -> SpotMeasures:
        """The measures of a panel's spots, as `partial` left them, or made once more."""
        kept = self._found.of(frame).measures.get(region)
        measures = self._measured(region, frame)[1] if kept is None else kept
        if measures.spot is None:
            return measures
        return measures._replace(spot=region.on_panel(measures.spot, self.scene.instrument.shapes[region.panel]))

    def _measured(self, region: Tile, frame: int) -> tuple[NDArray[np.floating[Any]], SpotMeasures]:
        """Partial intensity of all that is rendered of a panel, with the measures of its spots."""
        assert self.diffraction is not None
        background = None
        if self.has_background:
            background = np.ascontiguousarray(self.background(region, frame), dtype=np.float32)
        labels = self.scene.experiment.labels
        under = Underneath(
            self.photons_per_unit(frame),
            background,
            labels.spot_share if labels.spot else None,
        )
        partial, measures = self.backend.integrated(region, self.diffraction, frame, under)
        assert measures is not None
        return partial, measures

    def frame(self, frame: int, tile: Tile | None = None) -> NDArray[np.floating[Any]]:
        """Expected photons of a tile (default: all of the first panel) of a frame, (rows, columns)."""
        tile = tile or Tile(0, 0, self.scene.instrument.panels[0].spixels, 0, self.scene.instrument.panels[0].fpixels)
        return self.photons(self.partial(tile, frame), tile, frame)
