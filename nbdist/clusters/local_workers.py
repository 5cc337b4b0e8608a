"""How many workers this machine gets, and of which kind: one a usable core, or one a GPU, or both where that is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from nbdist.clusters.gpus import chosen_gpus, visible_gpus
from nbdist.cores import usable_cores
from nbdist.errors import RunError
from nbdist.kernels.devices import Device, pick_device


@dataclass(frozen=True)
class LocalWorkers:
    """Worker processes of this machine.

    Attributes
    ----------
    cpu
        Those that render on the CPU.
    gpus
        GPUs, by the names that `CUDA_VISIBLE_DEVICES` has for them, one process each.
    device
        What each worker is told: "auto" where the kinds are mixed and each finds out by itself.
    """

    cpu: int
    gpus: tuple[str, ...]
    device: Device

    @property
    def count(self) -> int:
        """Processes of both kinds together."""
        return self.cpu + len(self.gpus)

    def at_most(self, count: int) -> LocalWorkers:
        """These workers, but no more than there are tasks; those with GPUs stay longest."""
        gpus = self.gpus[:count]
        return LocalWorkers(min(self.cpu, count - len(gpus)), gpus, self.device)


def local_workers(device: Device, workers: int | None = None, gpus: str | None = None) -> LocalWorkers:
    """The workers that this machine gets.

    Parameters
    ----------
    device
        Where to render.
    workers
        Processes; beside GPUs that are named, those that render on the CPU.
    gpus
        `all`, or `0,1`: one process each.

    Raises
    ------
    RunError
        If a GPU is not there, or the three contradict each other.
    """
    if gpus is not None:
        if device == "cpu" or (device == "cuda" and workers):
            raise RunError(
                "--gpus takes GPUs, and --workers beside it adds workers on the CPU: --device contradicts it"
            )
        return LocalWorkers(workers or 0, tuple(chosen_gpus(gpus)), "auto" if workers else "cuda")
    if pick_device(device) == "cuda":
        visible = visible_gpus()
        return LocalWorkers(0, tuple(visible[n % len(visible)] for n in range(workers or len(visible))), "cuda")
    return LocalWorkers(workers or default_workers("cpu"), (), "cpu")


def default_workers(device: str) -> int:
    """One worker a usable core, or one a GPU."""
    if device == "cuda":
        return len(visible_gpus())
    return usable_cores()
