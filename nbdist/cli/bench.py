"""`nbdist bench`: how fast, how exact and how large, against what the machine could do and against another nanoBragg."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from nbdist.bench import GROUPS
from nbdist.cli.arguments import DeviceName
from nbdist.cli.completing import bench_cases
from nbdist.cli.display import console, error_console, print_table, table_of_numbers
from nbdist.cli.json_output import JsonFileOption, JsonOption, print_json, write_json
from nbdist.errors import NbdistError
from nbdist.formats.files import require_writable

if TYPE_CHECKING:
    from rich.table import Table

    from nbdist.bench.benchmark import AnyRecord
    from nbdist.bench.dataset import DatasetRecord
    from nbdist.bench.integrated import IntegratedRecord
    from nbdist.bench.labels import LabelsRecord
    from nbdist.bench.loader import LoaderRecord
    from nbdist.bench.measure import Record
    from nbdist.bench.readout import ReadoutRecord

R = TypeVar("R", bound="AnyRecord")


def bench(
    device: Annotated[DeviceName, typer.Option("--device", help="What to measure.")] = DeviceName.cpu,
    threads: Annotated[str, typer.Option("--threads", metavar="N,N", help="Cores to use, one run each.")] = "1,2",
    cases: Annotated[
        str | None,
        typer.Option(
            "--cases",
            metavar="NAME,NAME",
            autocompletion=bench_cases,
            help=f"Cases to measure, of {', '.join(GROUPS)}; all that can be had by default.",
        ),
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="PROGRAM", help="Another nanoBragg, measured in turn.")
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Runs of each case.")] = 5,
    as_json: JsonOption = False,
    json_file: JsonFileOption = None,
) -> None:
    """Measure the kernel and a whole series against the machine's own limit."""
    import tempfile

    from nbdist.bench.benchmark import Benchmark, limit_line
    from nbdist.bench.cases import input_folder
    from nbdist.bench.dataset import DatasetRecord
    from nbdist.bench.integrated import IntegratedRecord
    from nbdist.bench.labels import LabelsRecord
    from nbdist.bench.loader import LoaderRecord, missing_for_loader
    from nbdist.bench.measure import Record
    from nbdist.bench.readout import ReadoutRecord
    from nbdist.kernels.devices import pick_device

    require_writable(json_file)
    wanted, cores = _groups(",".join(GROUPS) if cases is None else cases), _threads(threads)
    if cases is None and (why := missing_for_loader()):
        wanted.remove("loader")
        console.print(f"loader is left out: {why}")
    program, target = _program(against), pick_device(device.value)
    records: list[AnyRecord] = []
    with tempfile.TemporaryDirectory(prefix="nbdist-bench-") as scratch:
        folder, inputs = input_folder(Path(scratch))
        benchmark = Benchmark(folder, Path(scratch), target, cores, program, repeats)
        console.print(f"inputs: {inputs}\n{limit_line(target)}")
        start_s: dict[str, float] | None = None
        try:
            for group in wanted:
                for record in benchmark.records(group) if group != "start" else ():
                    records.append(record)
                    error_console.print(f"measured {record.case}, {record.dtype}, {record.threads} thread(s)")
            if "start" in wanted:
                start_s = benchmark.start_seconds()
        finally:  # what was measured takes minutes: an interruption, or a case that fails, does not lose it
            if its := [record for record in records if isinstance(record, Record)]:
                print_table(_table(its))
            if integrated := [record for record in records if isinstance(record, IntegratedRecord)]:
                print_table(_integrated_table(integrated))
            if labelled := [record for record in records if isinstance(record, LabelsRecord)]:
                print_table(_labels_table(labelled))
            if readout := [record for record in records if isinstance(record, ReadoutRecord)]:
                print_table(_readout_table(readout))
            if loaders := [record for record in records if isinstance(record, LoaderRecord)]:
                print_table(_loader_table(loaders))
            if samples := [record for record in records if isinstance(record, DatasetRecord)]:
                print_table(_dataset_table(samples))
            if start_s is not None:
                seconds = [f"{what} {number:.1f} s" for what, number in start_s.items()]
                console.print(f"first pixels of a new process: {', '.join(seconds)}")
            numbers = [asdict(record) for record in records]
            print_json("bench", device=target, records=numbers, start_s=start_s)
            write_json(json_file, numbers)


def _groups(text: str) -> list[str]:
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in GROUPS:
            raise NbdistError(f"--cases {name}: is not one of {', '.join(GROUPS)}")
    return wanted


def _threads(text: str) -> list[int]:
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise NbdistError(f"--threads {text}: whole numbers from 1 on, with commas between")
    return numbers


def _program(path: Path | None) -> Path | None:
    if path is None:
        return None
    import shutil

    found = shutil.which(path)
    if found is None:
        raise NbdistError(f"--against {path}: there is no such program")
    return Path(found).resolve()


def _shown(value: float | None, digits: str) -> str:
    return "-" if value is None else f"{value:{digits}}"


def _table(records: list[Record]) -> Table:
    devices = ", ".join(sorted({record.device for record in records}))
    compared = any(record.ratio_to_reference is not None for record in records)
    return _of_records(
        f"{devices}; M/s: million pixel-steps/s; spread: (largest - smallest)/median",
        records,
        lambda record: {
            "dtype": record.dtype,
            "cores": str(record.threads),
            "M/s": f"{record.pixel_steps_per_s / 1e6:.0f}",
            "limit": f"{record.fraction_of_limit:.2f}",
            **({"other": _shown(record.ratio_to_reference, ".1f")} if compared else {}),
            "MiB": f"{record.peak_memory_bytes / 2**20:.0f}",
            "error": _shown(record.max_error, ".0e"),
        },
    )


def _integrated_table(records: list[IntegratedRecord]) -> Table:
    return _of_records(
        "integrated; steps: pixel-steps of the sum in its time, a pixel; sum: how many\n"
        "times longer it takes; cores: gain of several",
        records,
        lambda record: {
            "ms/frame": f"{1e3 * record.frame_s:.1f}",
            "spots": f"{record.spots:.0f}",
            "steps": f"{record.pixel_steps:.2f}",
            "sum": f"{record.times_the_sum:.0f}",
            "cores": "-" if record.cores_gain is None else f"{record.threads}: {record.cores_gain:.2f}",
        },
    )


def _labels_table(records: list[LabelsRecord]) -> Table:
    return _of_records(
        "labels of integrated frames over water, in memory, of the time without:\ntable: of spots; all: with labels: all",
        records,
        lambda record: {
            "ms/frame": f"{1e3 * record.frame_s:.1f}",
            "spots": f"{record.spots:.0f}",
            "table": f"{100 * record.spots_share:.0f} %",
            "all": f"{100 * record.labels_share:.0f} %",
        },
    )


def _readout_table(records: list[ReadoutRecord]) -> Table:
    return _of_records(
        "read-out, seconds of the processor; numpy: its time for the same counts; response: what follows\n"
        "them, over them; series: integrated, with response, over its packing and writing",
        records,
        lambda record: {
            "ms/frame": f"{1e3 * record.poisson_s:.1f}",
            "numpy": f"{record.times_numpy:.1f}",
            "response": f"{record.response_ratio:.2f}",
            "series": f"{record.series_ratio:.2f}",
        },
    )


def _loader_table(records: list[LoaderRecord]) -> Table:
    return _of_records(
        "reading for training; in order, mixed: rate of two workers over that of zarr in two processes; cpu: the same of\n"
        "processor time; crops: over whole frames cropped; growth: MiB in 10 epochs; once: each frame, over ranks and a resume",
        records,
        lambda record: {
            "frames/s": f"{record.frames_per_s:.0f}",
            "in order": f"{record.sequential_ratio:.2f}",
            "mixed": f"{record.shuffled_ratio:.2f}",
            "cpu": f"{record.processor_ratio:.2f}",
            "crops": f"{record.crops_ratio:.1f}",
            "growth": f"{record.growth_mib:.1f}",
            "once": "yes" if record.once else "no",
        },
    )


def _dataset_table(records: list[DatasetRecord]) -> Table:
    return _of_records(
        "samples of a recipe, seconds of the processor of each process, of its steps: what a sample is made\nof, "
        "its frames, counts and labels, packing, writing; ratio: all over packing and writing",
        records,
        lambda record: {
            "processes": str(record.threads),
            "ms/sample": f"{1e3 * record.sample_s:.0f}",
            "steps": " ".join(f"{1e3 * seconds:.0f}" for seconds in record.steps_s.values()),
            "ratio": f"{record.ratio:.2f}",
        },
    )


def _of_records(title: str, records: list[R], cells: Callable[[R], dict[str, str]]) -> Table:
    """A row for each record: its case, cells by the names of their columns, and its spread."""
    table = table_of_numbers(title, ["case", *cells(records[0]), "spread"], first="left")
    for record in records:
        table.add_row(record.case.replace("_", " "), *cells(record).values(), f"{100 * record.spread:.0f} %")
    return table
