"""`nbdist compare`: two series side by side, by resolution, with a picture of where they differ most."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbdist.cli.arguments import DeviceName, DeviceOption, read_span
from nbdist.cli.display import console, print_table, table_of_numbers
from nbdist.cli.json_output import JsonFileOption, JsonOption, print_json, write_json
from nbdist.cli.progress_display import Steps
from nbdist.errors import require_extra
from nbdist.formats.amounts import count
from nbdist.formats.files import require_writable

if TYPE_CHECKING:
    from nbdist.run.compare import Agreement, Comparison

SeriesLocation = Annotated[
    str, typer.Argument(help="Zarr store of nbdist, or experiment file, which is rendered.", show_default=False)
]


def compare(
    a: SeriesLocation,
    b: SeriesLocation,
    frames: Annotated[
        str,
        typer.Option(
            "--frames", metavar="FIRST:LAST", help="Frames to compare; only the first one by default, : means all."
        ),
    ] = "0",
    panel: Annotated[int | None, typer.Option("--panel", min=0, help="Panel to compare; all by default.")] = None,
    shells: Annotated[int, typer.Option("--shells", min=1, help="Number of resolution shells.")] = 10,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="PNG to write, of where they differ most; none by default.", show_default=False
        ),
    ] = None,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
    json_file: JsonFileOption = None,
) -> None:
    """Compare the photons of two series, of frame 0 unless --frames says otherwise: maximum, sum and correlation, by resolution shell."""
    from nbdist.run.compare import compare as compare_series
    from nbdist.run.compare import series_at

    if output is not None:
        require_extra("pictures", "the picture of a comparison")
    for file in (output, json_file):
        require_writable(file)
    one, other = series_at(a, device.value), series_at(b, device.value)
    wanted = read_span(frames, "--frames", min(one.scene.experiment.scan.frames, other.scene.experiment.scan.frames))
    with Steps("frames compared") as steps:
        found = compare_series(one, other, wanted, None if panel is None else [panel], shells, report=steps)
    _print(found, wanted)
    write_json(json_file, {"all": asdict(found.whole), "shells": [asdict(shell) for shell in found.shells]})
    print_json(
        "compare",
        a=a,
        b=b,
        frames=wanted,
        all=_numbers(found.whole),
        shells=[_numbers(shell) for shell in found.shells],
        frame_of_largest_difference=found.frame,
        panel_of_largest_difference=found.panel,
    )
    if output is not None:
        from nbdist.formats.pictures import comparison_figure, save

        title = f"frame {found.frame}, panel {found.panel}: largest difference {found.whole.difference:.3g} photons"
        save(comparison_figure(found.images, (Path(a).name, Path(b).name), title), output)
        console.print(f"wrote {output}")


def _print(found: Comparison, frames: range) -> None:
    compared = f"frames {frames[0]} to {frames[-1]}" if len(frames) > 1 else f"frame {frames[0]} alone (see --frames)"
    table = table_of_numbers(
        f"photons of A and B, {compared}\ndiff.: the largest of a pixel, over the largest pixel of A\n"
        f"the largest is in frame {found.frame}, panel {found.panel}",
        ("d, A", "pixels", "max A", "max B", "diff.", "sum B / A", "corr."),
    )
    for agreement in found.shells:
        table.add_row(f"{agreement.d_max_A:.3g}-{agreement.d_min_A:.3g}", *_cells(agreement, found.whole.largest))
    table.add_section()
    table.add_row("all", *_cells(found.whole, found.whole.largest))
    print_table(table)


def _numbers(its: Agreement) -> dict[str, object]:
    """What two images agree in, photons by that name."""
    photons = ("largest", "largest_other", "difference", "sum", "sum_other")
    return {f"{name}_photons" if name in photons else name: value for name, value in asdict(its).items()}


def _cells(its: Agreement, largest: float) -> list[str]:
    return [
        count(its.pixels),
        f"{its.largest:.4g}",
        f"{its.largest_other:.4g}",
        f"{its.difference / largest:.1e}" if largest else f"{its.difference:.1e}",
        f"{its.sum_other / its.sum:.6f}" if its.sum else "-",
        "-" if its.correlation is None else f"{its.correlation:.6f}",
    ]
