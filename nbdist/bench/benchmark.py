"""All cases of a benchmark one after the other, each with the machine's limit and another nanoBragg in turn."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from nbdist.bench.cases import Case, cases
from nbdist.bench.dataset import DatasetRecord, dataset_recipe, measure_dataset
from nbdist.bench.integrated import IntegratedRecord, integrated_cases, measure_integrated, own_processes
from nbdist.bench.labels import LabelsRecord, measure_labels
from nbdist.bench.limit import SLOTS_PER_PIXEL_STEP, vector_fma_per_cycle
from nbdist.bench.loader import LoaderRecord, loader_experiment, measure_loader
from nbdist.bench.measure import Record, first_frame_seconds, in_own_process, measure, measure_on_cores, measure_series
from nbdist.bench.readout import ReadoutRecord, measure_readout, readout_experiment
from nbdist.kernels.devices import cuda_is_available

AnyRecord = Record | IntegratedRecord | LabelsRecord | ReadoutRecord | LoaderRecord | DatasetRecord

BOTH_PRECISIONS = ("reference", "mosaic", "sources")
"""Groups that are measured in float64, too."""
SERIES_REPEATS = 3
"""A series is a whole command, and takes no more repeats than these."""


@dataclass(frozen=True)
class Benchmark:
    """Cases measured one after the other: where, and with what.

    Attributes
    ----------
    inputs, scratch
        The folder of the cases' input files (see `cases.input_folder`), and one to write in.
    device
        "cpu" or "cuda".
    cores
        How many cores to use, one run of the reference case each.
    against
        Another nanoBragg, measured in turn.
    repeats
        Runs of each case.
    """

    inputs: Path
    scratch: Path
    device: str
    cores: Sequence[int]
    against: Path | None
    repeats: int

    def records(self, group: str) -> Iterator[AnyRecord]:
        """Measure the cases of a group."""
        if group == "integrated":
            cores = 1 if self.device == "cuda" else max(self.cores)
            for name, experiment in integrated_cases(self.inputs).items():
                with own_processes(cores) as processes:
                    record = measure_integrated(name, experiment, self.device, processes, self.repeats)
                yield record
            return
        if group == "labels":
            for name, experiment in integrated_cases(self.inputs).items():
                yield in_own_process(measure_labels, name, experiment, self.device, self.repeats)
            return
        if group == "readout":
            yield in_own_process(measure_readout, "eiger_uniform", readout_experiment(), self.repeats)
            return
        if group == "loader":
            yield in_own_process(measure_loader, "eiger_frames", loader_experiment(), self.repeats)
            return
        if group == "dataset":
            with own_processes(max(self.cores)) as processes:
                yield measure_dataset("megapixel_stills", dataset_recipe(), processes, self.repeats)
            return
        if group == "series":
            [case] = cases("reference", self.inputs)
            repeats, workers = min(self.repeats, SERIES_REPEATS), 1 if self.device == "cuda" else max(self.cores)
            yield in_own_process(
                measure_series, case, self.inputs, self.device, workers, self.against, repeats, self.scratch
            )
            return
        dtypes = ("float32", "float64") if group in BOTH_PRECISIONS else ("float32",)
        for case in cases(group, self.inputs):
            for dtype in dtypes:
                for number in self.cores if group == "reference" and self.device == "cpu" else [1]:
                    if number == 1:
                        yield self._alone(case, dtype)
                    else:
                        yield measure_on_cores(case, self.inputs, dtype, number, self.repeats)

    def _alone(self, case: Case, dtype: str) -> Record:
        arguments = case, self.inputs, self.device, dtype, self.against, self.repeats
        if self.device == "cpu":
            return in_own_process(measure, *arguments)
        gc.collect()  # torch counts a GPU's memory, of what is alive: all cases share one process, which loads and compiles once
        return measure(*arguments)

    def start_seconds(self) -> dict[str, float]:
        """Seconds to a new process's first pixels: eagerly where there is PyTorch, with nothing compiled yet, and with everything."""
        modes = {"eager": "eager"} if find_spec("torch") is not None else {}
        modes |= {"compile cache empty": "compiled", "filled": "compiled"}
        cache = self.scratch / "cache"
        return {what: first_frame_seconds(self.inputs, mode, self.device, cache) for what, mode in modes.items()}


def limit_line(device: str) -> str:
    """What rates are compared with, and a check of it where clock cycles can be counted."""
    limit = f"limit: lane-FMA/s, measured between the runs, over {SLOTS_PER_PIXEL_STEP} a pixel-step"
    if device != "cpu":
        return limit
    cycles = vector_fma_per_cycle()
    check = "clock cycles cannot be counted here" if cycles is None else f"{cycles:.2f} vector FMA a clock cycle"
    return f"{limit}; {check}{'' if cuda_is_available() else '; no CUDA device here: not measured'}"
