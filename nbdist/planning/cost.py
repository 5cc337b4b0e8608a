"""What an experiment costs: pixel-steps, seconds, bytes in memory and on disk.

The rates are what this project's kernel reached on one core of a 2021 server and one data-centre GPU; they set the size of units and
the time that `nbdist plan` prints, never a result.
"""

from __future__ import annotations

from dataclasses import dataclass

from nbdist.experiment.resolved import ResolvedExperiment

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
COMPRESSED_BYTES_PER_PIXEL = {"intensity": 3.6, "counts": 0.4}
KEPT_FACTORS_BYTES = 256 * MIB
"""What a renderer keeps of the detector from frame to frame, at most."""
WORKER_BASE_BYTES = 520 * MIB
"""A worker process with torch, Dask and a compiled kernel, before it renders."""


@dataclass(frozen=True)
class Cost:
    """What one frame needs."""

    pixels: int
    samples: int
    orientations: int
    pixel_steps: float
    seconds: float
    disk_bytes: float


def frame_cost(resolved: ResolvedExperiment, rendered_pixels: int, device: str, mode: str) -> Cost:
    """Cost of one frame on one worker.

    Parameters
    ----------
    rendered_pixels
        Pixels that tiles cover.
    device, mode
        "cpu" or "cuda", "compiled" or "eager".
    """
    experiment = resolved.experiment
    samples = resolved.oversample**2 * resolved.sensor_layers * len(resolved.sources)
    orientations = resolved.orientations_per_frame
    rate = PIXEL_STEPS_PER_S[(device, mode, experiment.sampling.precision)]
    weight = SHAPE_COST[experiment.crystal.shape] * (INTERPOLATION_COST if resolved.interpolate else 1.0)
    pixel_steps = float(rendered_pixels) * samples * orientations
    work = float(rendered_pixels) * samples * (orientations * weight + SETUP_PIXEL_STEPS)
    image_pixels = experiment.detector.spixels * experiment.detector.fpixels
    disk = image_pixels * COMPRESSED_BYTES_PER_PIXEL["intensity"] * rendered_pixels / image_pixels
    if experiment.noise.photon_noise:
        disk += image_pixels * COMPRESSED_BYTES_PER_PIXEL["counts"]
    return Cost(rendered_pixels, samples, orientations, pixel_steps, work / rate, disk)


def worker_memory_bytes(image_pixels: int, frames_per_shard: int, table_bytes: int, with_counts: bool) -> int:
    """Peak memory of one worker: its process, the amplitudes, one frame in float64 three times, a shard being written, what is kept."""
    kept_factors = min(KEPT_FACTORS_BYTES, 2 * 8 * image_pixels)
    shard_bytes = image_pixels * frames_per_shard * (8 if with_counts else 4)
    return WORKER_BASE_BYTES + 2 * table_bytes + 3 * 8 * image_pixels + 3 * shard_bytes + kept_factors
