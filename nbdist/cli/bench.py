"""`nbdist bench`: how fast, how exact and how large, against what the machine could do and against another nanoBragg."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbdist.cli.arguments import DeviceName
from nbdist.cli.display import console, error_console
from nbdist.errors import NbdistError

if TYPE_CHECKING:
    from nbdist.bench.measure import Record

GROUPS = ("reference", "mosaic", "sources", "sharp", "shapes", "series", "start")


def bench(
    device: Annotated[DeviceName, typer.Option("--device", help="What to measure.")] = DeviceName.cpu,
    threads: Annotated[str, typer.Option("--threads", metavar="N,N", help="Cores to use, one run each.")] = "1,2",
    cases: Annotated[str, typer.Option("--cases", metavar="NAME,NAME", help=f"Of {', '.join(GROUPS)}.")] = ",".join(
        GROUPS
    ),
    against: Annotated[
        Path | None, typer.Option("--against", metavar="PROGRAM", help="Another nanoBragg, measured in turn.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the records, too.")] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Runs of each case.")] = 5,
) -> None:
    """Measure the kernel and a whole series against the machine's own limit."""
    from nbdist.bench.cases import input_folder

    wanted, cores = _groups(cases), _threads(threads)
    program = _program(against)
    target = _device(device)
    records = []
    with tempfile.TemporaryDirectory(prefix="nbdist-bench-") as scratch:
        folder, inputs = input_folder(Path(scratch))
        console.print(f"inputs: {inputs}")
        console.print(_limit_check(target))
        for record in _records(wanted, folder, Path(scratch), target, cores, program, repeats):
            records.append(record)
            error_console.print(f"measured {record.case}, {record.dtype}, {record.threads} thread(s)")
        if records:
            _print(records)
        if "start" in wanted:
            _print_start(folder, Path(scratch), target)
    if json_file is not None:
        try:
            json_file.write_text(json.dumps([asdict(record) for record in records], indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise NbdistError(f"--json {json_file}: {error.strerror}") from None


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
    found = shutil.which(path)
    if found is None:
        raise NbdistError(f"--against {path}: there is no such program")
    return Path(found).resolve()


def _device(name: DeviceName) -> str:
    from nbdist.kernels.devices import pick_device

    return pick_device(name.value)


def _limit_check(device: str) -> str:
    from nbdist.bench.limit import SLOTS_PER_PIXEL_STEP, vector_fma_per_cycle

    limit = f"limit: lane-FMA/s, measured between the runs, over {SLOTS_PER_PIXEL_STEP} a pixel-step"
    if device != "cpu":
        return limit
    import torch

    gpu = "" if torch.cuda.is_available() else "; no CUDA device here: not measured"
    cycles = vector_fma_per_cycle()
    check = "clock cycles cannot be counted here" if cycles is None else f"{cycles:.2f} vector FMA a clock cycle"
    return f"{limit}; {check}{gpu}"


def _records(
    wanted: list[str], folder: Path, scratch: Path, device: str, cores: list[int], program: Path | None, repeats: int
) -> Iterator[Record]:
    from nbdist.bench.cases import cases
    from nbdist.bench.measure import in_own_process, measure, measure_on_cores, measure_series

    for group in wanted:
        if group == "start":
            continue
        if group == "series":
            [case] = cases("reference", folder)
            options = (device, max(cores), program, min(repeats, 3), scratch)
            yield in_own_process(measure_series, case, folder, *options)
            continue
        for case in cases(group, folder):
            for dtype in ("float32", "float64") if group in ("reference", "mosaic", "sources") else ("float32",):
                for number in cores if group == "reference" and device == "cpu" else [1]:
                    if number == 1:
                        yield in_own_process(measure, case, folder, device, dtype, program, repeats)
                    else:
                        yield measure_on_cores(case, folder, dtype, number, repeats)


def _shown(value: float | None, digits: str) -> str:
    return "-" if value is None else f"{value:{digits}}"


def _print(records: list[Record]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    devices = ", ".join(sorted({record.device for record in records}))
    table = Table(
        title=f"{devices}; M/s: million pixel-steps/s; spread: (largest - smallest)/median",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("case", no_wrap=True)
    compared = any(record.ratio_to_reference is not None for record in records)
    for name in ("dtype", "cores", "M/s", "limit", *(["other"] if compared else []), "MiB", "error", "spread"):
        table.add_column(name, justify="right", no_wrap=True)
    for record in records:
        table.add_row(
            record.case.replace("_", " "),
            record.dtype,
            str(record.threads),
            f"{record.pixel_steps_per_s / 1e6:.0f}",
            f"{record.fraction_of_limit:.2f}",
            *([_shown(record.ratio_to_reference, ".1f")] if compared else []),
            f"{record.peak_memory_bytes / 2**20:.0f}",
            _shown(record.max_error, ".0e"),
            f"{100 * record.spread:.0f} %",
        )
    console.print(table)


def _print_start(folder: Path, scratch: Path, device: str) -> None:
    """Seconds to the first pixels: eagerly, with nothing compiled yet, and with everything compiled."""
    from nbdist.bench.measure import first_frame_seconds

    cache = scratch / "cache"
    eager = first_frame_seconds(folder, "eager", device, cache)
    cold = first_frame_seconds(folder, "compiled", device, cache)
    warm = first_frame_seconds(folder, "compiled", device, cache)
    console.print(
        f"first pixels of a new process: eager {eager:.1f} s, compile cache empty {cold:.1f} s, filled {warm:.1f} s"
    )
