"""What an experiment costs: pixel-steps, seconds, bytes in memory and on disk.

The rates are what this project's kernel reached on one core of a 2021 server and one data-centre GPU; they set the size of units and
the time that `nbdist plan` prints, never a result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from nbdist.scene.diffuse import mean_nodes
from nbdist.scene.panels import PanelGeometry
from nbdist.scene.scene import Scene
from nbdist.scene.specimen import Lattice
from nbdist.scene.spots import spot_limit
from nbdist.scene.tile import Tile

MIB = 2**20
PIXEL_STEPS_PER_S = {
    ("cpu", "compiled", "float32"): 2.5e8,
    ("cpu", "compiled", "float64"): 1.2e8,
    ("cpu", "eager", "float32"): 1.5e7,
    ("cpu", "eager", "float64"): 7e6,
    ("cuda", "compiled", "float32"): 2e10,
    ("cuda", "compiled", "float64"): 8e9,
    ("cuda", "eager", "float32"): 1e9,
    ("cuda", "eager", "float64"): 5e8,
}
SETUP_PIXEL_STEPS = 4
"""A pixel's geometry costs about as much as this many orientations, for each subpixel, layer and source."""
SHAPE_COST = {"square": 1.0, "round": 2.0, "gauss": 1.0, "tophat": 1.0}
INTERPOLATION_COST = 4.0
DECISION_COST = 0.03
"""Of a pixel-step of shape gauss or tophat on a CPU, where it is told beforehand whether the term is 0."""
BLOCK_SETUP_PIXEL_STEPS = 0.8
"""Of a pixel, where that leaves it without a term."""
PATCH_PIXELS = 1.5 * math.sqrt(2)
"""From the middle of the 4 x 4 pixels for which that is told to their corners."""
LARGE_AMPLITUDE = 1000.0
"""Electrons: where the amplitudes are not known yet, no reflection of a protein is taken to be stronger."""
KEPT_FACTORS_BYTES = 256 * MIB
"""What a renderer keeps of the detector from frame to frame, at most."""
WORKER_BASE_BYTES, TORCH_BYTES = 160 * MIB, 240 * MIB
"""A worker process with Dask and a compiled kernel before it renders, and PyTorch where it needs that."""
IMAGE_BYTES = 8
"""Of a pixel while it is computed."""
CHECK_BYTES = 3
"""Of a pixel while a finished frame is looked through."""
TILES_AT_ONCE = 4
"""Float64 images of a tile that a thread holds at a time."""
ORIENTATION_BYTES = 72
"""A rotation or a crystal's axes, (3, 3) float64."""
PHI_STEP_BYTES = 2 * ORIENTATION_BYTES + 48
"""A phi step of a frame: its angle, its rotation, and the axes turned by it."""
EAGER_BYTES, EAGER_ORIENTATION_BYTES = 64 * MIB, 400
"""What torch's own operations hold of a block of pixels, and of every orientation of a chunk."""


DIFFUSE_STEPS = 12.0
"""A look at the diffuse scattering of a lattice in a pixel costs about as much as this many orientations of the sum."""
INTEGRATED_STEPS = 2.0
"""A pixel of an integrated frame costs about as much as this many orientations of the sum, however many subpixels its spots take."""


class Product(Protocol):
    """What is known beforehand of the size of something that a store holds of each frame."""

    def frame_bytes(self, pixels: int) -> int:
        """Bytes of a frame of so many pixels in memory."""

    def disk_bytes(self, pixels: int) -> float:
        """Expected bytes in the store of a frame of which so many pixels are rendered."""


@dataclass(frozen=True)
class Cost:
    """What one frame costs: work, time and room.

    `product_bytes` are those of all its products in memory.
    """

    pixels: int
    pixel_steps: float
    seconds: float
    disk_bytes: float
    product_bytes: int


def frame_cost(
    scene: Scene, rendered_pixels: int, image_pixels: int, device: str, mode: str, products: Sequence[Product]
) -> Cost:
    """Cost of one frame on one worker.

    Parameters
    ----------
    rendered_pixels, image_pixels
        Pixels that tiles cover, and all that a store has of a frame.
    device, mode
        "cpu" or "cuda", "compiled" or "eager".
    products
        What the store holds of the frame.
    """
    instrument = scene.instrument
    rate = PIXEL_STEPS_PER_S[(device, mode, instrument.precision)]
    rays = weighed = 0.0
    for number, panel in enumerate(instrument.panels):
        on_panel = len(instrument.sources) * Tile(number, *panel.region).pixels * instrument.rays_per_pixel(number)
        rays += on_panel
        weighed += _diffuse_cost(scene, number)
        if scene.method == "integrated":
            weighed += INTEGRATED_STEPS * on_panel
            continue
        weighed += on_panel * _ray_cost(scene, panel, skips=(device, mode) == ("cpu", "compiled"))
    return Cost(
        pixels=rendered_pixels,
        pixel_steps=rays * scene.orientations_per_frame,
        seconds=weighed / rate,
        disk_bytes=sum(product.disk_bytes(rendered_pixels) for product in products),
        product_bytes=sum(product.frame_bytes(image_pixels) for product in products),
    )


def _diffuse_cost(scene: Scene, number: int) -> float:
    """What the diffuse scattering of a panel's pixels costs, in pixel-steps of a brick-shaped crystal."""
    panel, sources = scene.instrument.panels[number], scene.instrument.sources
    looks = 0
    for lattice in scene.specimen.lattices:
        if lattice.disorder is not None:
            wavelength_A = float(sources.wavelengths_A.min())
            osc_deg = scene.experiment.scan.osc_range_deg
            looks += mean_nodes(lattice.disorder, panel, wavelength_A, scene.finest_A, osc_deg).looks
    return DIFFUSE_STEPS * looks * panel.layers * len(sources) * Tile(number, *panel.region).pixels


def _ray_cost(scene: Scene, panel: PanelGeometry, skips: bool) -> float:
    """What a ray under one source costs, in pixel-steps of a brick-shaped crystal; `skips`: whether terms that are 0 are left out."""
    cost = 0.0
    for lattice in scene.specimen.lattices:
        orientations = scene.phi_steps * lattice.domains
        term = SHAPE_COST[lattice.shape] * (INTERPOLATION_COST if lattice.interpolate else 1.0)
        share = _share_of_terms(scene, lattice, panel) if skips else 1.0
        if share == 1:
            cost += SETUP_PIXEL_STEPS + orientations * term
        else:
            looked_at = min(1.0, share * lattice.domains)
            cost += (
                BLOCK_SETUP_PIXEL_STEPS + SETUP_PIXEL_STEPS * looked_at + orientations * (DECISION_COST + share * term)
            )
    return cost


def _share_of_terms(scene: Scene, lattice: Lattice, panel: PanelGeometry) -> float:
    """Share of pixels and orientations that the native kernel works out: the volume around a reflection that is not told to give 0."""
    limit = spot_limit(lattice.shape, lattice.cells_in_all, LARGE_AMPLITUDE, scene.instrument.precision)
    wavelength_A = float(scene.instrument.sources.wavelengths_A.mean())
    spread = PATCH_PIXELS * panel.pixel_m / abs(panel.distance_m) * lattice.largest_A / wavelength_A
    return min(1.0, 4 / 3 * math.pi * (math.sqrt(limit / lattice.fudge) + spread) ** 3 / lattice.cells_in_all)


class Memory(NamedTuple):
    """Expected peak memory of a worker process, bytes: what its threads share, and what each of them needs to render and write."""

    shared: int
    per_thread: int


class Pieces(NamedTuple):
    """What a thread has in hand at a time: pixels of a tile, phi steps and number of a frame's chunks, its pixels, frames of a shard."""

    tile_pixels: int
    phi_chunk: int
    chunks: int
    frame_pixels: int
    frames_per_shard: int
    split: bool


def worker_memory(
    scene: Scene,
    pieces: Pieces,
    amplitude_bytes: int,
    readout_bytes: tuple[int, int],
    device: str,
    kernel: str,
    products: Sequence[Product],
    kept_bytes: int | None = None,
) -> Memory:
    """Memory of a worker process.

    Parameters
    ----------
    amplitude_bytes
        The table of amplitudes, and the reflections that it is made of.
    readout_bytes
        What threads share of the read-out, and what each of them needs besides the images of a frame.
    device, kernel
        "cpu" or "cuda", "compiled" or "eager".
    products
        What the store holds of each frame.
    kept_bytes
        What is kept of other samples of a data set, of which each thread has one in hand; None of a series, which all share.
    """
    specimen, pixels, precise = scene.specimen, pieces.frame_pixels, scene.instrument.precision == "float64"
    disordered = any(lattice.disorder is not None for lattice in specimen.lattices)
    tile_bytes, layers = _factor_bytes(scene, kernel)
    # the domains are held as they are and, for a moment, as they came
    base = WORKER_BASE_BYTES + (TORCH_BYTES if device == "cuda" or kernel == "eager" else 0)
    domains = 2 * ORIENTATION_BYTES * specimen.all_domains
    its_own = amplitude_bytes + readout_bytes[0] + domains + instrument_bytes(scene, kernel, pixels)
    shared, own = (base + its_own, 0) if kept_bytes is None else (base + kept_bytes, its_own)

    orientations = pieces.phi_chunk * scene.specimen.all_domains
    turned = ORIENTATION_BYTES * orientations + PHI_STEP_BYTES * scene.phi_steps
    if kernel == "eager":
        turned += EAGER_BYTES + EAGER_ORIENTATION_BYTES * orientations
    # what is not kept is worked out for each tile
    layer_scales = 0 if layers * tile_bytes * pixels <= KEPT_FACTORS_BYTES else tile_bytes * pieces.tile_pixels * layers
    # of a tile: the chunk's partial, the sum with it, the photons of that and what makes them
    partials = TILES_AT_ONCE * tile_bytes * pieces.tile_pixels + layer_scales
    looked_at = pieces.tile_pixels
    if disordered and scene.experiment.labels.of_frames:
        # labels ask for what halos give of whole panels, which waits for them
        looked_at = pixels
        partials += IMAGE_BYTES * pixels
    if disordered:  # what they give, and the factors that they take
        partials += 2 * IMAGE_BYTES * looked_at
    if specimen.decays:  # what is left of a lattice, as it is worked out, and its part
        partials += 4 * IMAGE_BYTES * looked_at
    if pieces.split:  # the partials of a frame that meet here, and as many that wait here for their frame's others
        partials += 2 * IMAGE_BYTES * pixels * pieces.chunks
    double = IMAGE_BYTES if precise else 0
    rendering = turned + partials + (double + CHECK_BYTES) * pixels
    # frames as they are made; then as they are packed, one array after the other: stacked, its bytes by chunk, and joined
    sizes = [product.frame_bytes(pixels) for product in products]
    frame, made = sum(sizes), pieces.frames_per_shard * sum(sizes)
    packing = 3 * pieces.frames_per_shard * max(sizes, default=0)
    if pieces.split:
        # whoever has a split frame's partials goes on with those of the next while it writes
        return Memory(shared, own + made + rendering + readout_bytes[1] + packing)
    # a frame is read out when its tiles are done
    return Memory(shared, own + max(made - frame + rendering, made + max(readout_bytes[1], packing)))


def instrument_bytes(scene: Scene, kernel: str, pixels: int | None = None) -> int:
    """What is kept of an instrument: the factors of its pixels, their backgrounds, spacings and masks.

    Parameters
    ----------
    kernel
        "compiled" or "eager".
    pixels
        Of all panels; those of the scene where left out.
    """
    instrument, specimen = scene.instrument, scene.specimen
    pixels = instrument.pixels if pixels is None else pixels
    tile_bytes, layers = _factor_bytes(scene, kernel)
    kept_factors = min(KEPT_FACTORS_BYTES, layers * tile_bytes * pixels)
    if scene.method == "sum" and any(lattice.disorder is not None for lattice in specimen.lattices):
        kept_factors += min(KEPT_FACTORS_BYTES, layers * _own_bytes(scene, kernel) * pixels)
    background, obstacles = instrument.background, instrument.obstacles
    kept_images = (background.scatters + background.steady) * (8 if instrument.precision == "float64" else 4)
    kept_images += 4 * (bool(background.images) + obstacles.any)
    if specimen.decays:  # what spacing scatters to a pixel
        kept_images += IMAGE_BYTES
    return kept_factors + (1 + kept_images) * pixels


def _own_bytes(scene: Scene, kernel: str) -> int:
    """Bytes of a pixel in the experiment's precision, which the compiled kernel has for integrated images and factors of halos."""
    return 4 if kernel != "eager" and scene.instrument.precision == "float32" else IMAGE_BYTES


def _factor_bytes(scene: Scene, kernel: str) -> tuple[int, int]:
    """Bytes of a pixel of an image, or of a factor of it; and how many factors it has.

    Layers that absorb have factors of their own, and sources where any are evaluated for every ray.
    """
    instrument, integrated = scene.instrument, scene.method == "integrated"
    layers = max(
        (panel.layers if panel.attenuation_per_m > 0 else 1)
        * (len(instrument.sources) if instrument.every_term(number) and integrated else 1)
        for number, panel in enumerate(instrument.panels)
    )
    return _own_bytes(scene, kernel) if integrated else IMAGE_BYTES, layers
