"""`nbdist run`: render a series into a Zarr store, with progress, to the end or to where `--resume` goes on."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Annotated, Any

import typer

from nbdist.cli.arguments import (
    DeviceName,
    DeviceOption,
    ExperimentFile,
    KernelOption,
    PhiChunkOption,
    PrecisionOption,
    ShardOption,
    TileOption,
    load,
    read_span,
    read_tile,
)
from nbdist.cli.display import console, duration, error_console, interactive, size
from nbdist.cli.part import PartOption, for_part, made_by
from nbdist.errors import NbdistError

LINE_EVERY_S = 10.0


def run(
    path: ExperimentFile,
    output: Annotated[str, typer.Option("--output", "-o", metavar="STORE", help="Zarr store to write.")],
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Local processes; one a core, or one a GPU.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Use a running Dask cluster.")
    ] = None,
    serial: Annotated[bool, typer.Option("--serial", help="Render in this process, without Dask.")] = False,
    frames: Annotated[
        str | None, typer.Option("--frames", metavar="FIRST:LAST", help="Part of the series, half-open.")
    ] = None,
    part: PartOption = None,
    tile: TileOption = None,
    phi_chunk: PhiChunkOption = None,
    frames_per_shard: ShardOption = None,
    precision: PrecisionOption = None,
    device: DeviceOption = DeviceName.auto,
    kernel: KernelOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the store that exists.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the store that exists.")] = False,
) -> None:
    """Render a rotation series into a Zarr store."""
    if sum((serial, scheduler is not None, workers is not None)) > 1:
        raise NbdistError("--serial, --workers and --scheduler exclude each other")
    from nbdist.store.locations import normalised

    if resume and overwrite:
        raise NbdistError("--resume and --overwrite exclude each other")
    experiment = load(path, precision)
    output = normalised(output) if output.startswith("~") else output
    wanted = read_span(frames, "--frames", experiment.scan.frames) if frames is not None else None
    options: dict[str, Any] = dict(
        workers=workers,
        serial=serial,
        frames=wanted,
        tile=read_tile(tile),
        phi_chunk=phi_chunk,
        frames_per_shard=frames_per_shard,
        device=device.value,
        kernel=kernel.value if kernel else None,
        resume=resume,
        overwrite=overwrite,
    )
    going_on = for_part(options, part, scheduler is not None)
    options["made_by"] = made_by(path, precision)
    render(experiment, output, scheduler, options, again=f"nbdist run {path} -o {output} {going_on}")


def render(experiment: Any, output: str, scheduler: str | None, options: dict[str, Any], again: str) -> None:
    """Run with a progress display and say how it ended; raises typer.Exit(1) where units are left."""
    from nbdist.execution.generate import generate

    with Display() as display:
        try:
            if scheduler is None:
                progress = generate(experiment, output, report=display, **options)
            else:
                with _connected(scheduler) as client:
                    progress = generate(experiment, output, client, report=display, **options)
        except KeyboardInterrupt:
            display.close()
            error_console.print(f"interrupted; what is complete is kept. Go on with: {again}")
            raise typer.Exit(130) from None
    if progress.failed:
        for unit, error in sorted(progress.failed.items()):
            error_console.print(f"unit {unit} failed: {error}")
        error_console.print(f"{len(progress.failed)} unit(s) are left. Try them again with: {again}")
        raise typer.Exit(1)
    wanted = options.get("frames")
    if wanted is not None and progress.frames_done > len(wanted):
        console.print(f"note: {len(wanted)} frames were asked for; a shard is rendered whole")
    if progress.frames_total == 0:
        console.print(f"{output}: nothing was missing")
        return
    if progress.eager_units and options.get("kernel") != "eager":
        error_console.print(
            f"note: {progress.eager_units} unit(s) were rendered without a compiled kernel, several times slower; "
            "torch.compile needs a C++ compiler (g++) where the workers run"
        )
    rate = progress.frames_done / progress.seconds
    console.print(
        f"{output}: {progress.frames_done} frames in {duration(progress.seconds)} "
        f"({rate:.3g} frames/s), {size(progress.bytes_written)} written"
    )


def _connected(address: str) -> Any:
    from distributed import Client

    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise NbdistError(f"--scheduler {address}: no Dask scheduler answers there ({type(error).__name__})") from None
    if not client.nthreads():
        client.close()
        raise NbdistError(f"--scheduler {address}: the cluster has no workers")
    return client


class Display:
    """Shows progress: a bar where a person watches, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._last = 0.0
        self._dashboard_shown = False

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, progress: Any) -> None:
        """Show the progress as it is now."""
        if progress.dashboard and not self._dashboard_shown:
            error_console.print(f"dashboard: {progress.dashboard}")
            self._dashboard_shown = True
        if interactive():
            self._draw(progress)
        elif time.monotonic() - self._last > LINE_EVERY_S or progress.frames_done == progress.frames_total:
            self._last = time.monotonic()
            error_console.print(_line(progress))

    def _draw(self, progress: Any) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        if self._bar is None:
            columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=error_console, transient=True)
            self._task = self._bar.add_task("", total=progress.frames_total)
            self._bar.start()
        self._bar.update(self._task, completed=progress.frames_done, description=_line(progress))


def _line(progress: Any) -> str:
    parts = [f"{progress.frames_done}/{progress.frames_total} frames", f"{progress.workers} worker(s)"]
    if progress.frames_done:
        parts.append(f"{progress.frames_per_s:.3g} frames/s")
        parts.append(f"{duration(progress.seconds_left)} left")
    else:
        parts.append("starting")
    if progress.failed:
        parts.append(f"{len(progress.failed)} unit(s) failed")
    return ", ".join(parts)
