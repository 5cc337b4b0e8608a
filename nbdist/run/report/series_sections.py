"""The sections of a report of a series, with their tables and figures, and what each of them shows."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nbdist.experiment import experiment_to_yaml
from nbdist.formats.pictures import radial_figure
from nbdist.formats.report_figures import (
    Curve,
    SpotPicture,
    rocking_figure,
    shells_figure,
    spots_figure,
    wilson_figure,
)
from nbdist.formats.report_page import ReportFigure, ReportSection, ReportTable
from nbdist.formats.scales import unit_label
from nbdist.run.preview import Preview, phi_title, picture_of
from nbdist.run.report.common_sections import (
    NO_SPOTS,
    amount,
    checks_section,
    left_out,
    listed,
    none_yet,
    number_of,
    run_section,
    spots_section,
)
from nbdist.run.report.reflections import StrongReflection
from nbdist.run.report.series import SeriesReport


def series_sections(made: SeriesReport) -> Iterator[ReportSection]:
    """The sections of a report of a series."""
    yield _experiment(made)
    yield _pictures(made)
    yield _resolution(made)
    yield _wilson(made)
    yield _strongest(made)
    yield spots_section(made.spots, f"frames {listed(made.frames)}")
    yield run_section(made.summary, made.run)
    yield checks_section(made.checks)


def _looked_at(made: SeriesReport) -> str:
    return (
        f"What follows is of {number_of(len(made.frames), 'frame')}, spread evenly over those that are complete: {listed(made.frames)}."
        if len(made.frames) < made.summary.frames_complete
        else "What follows is of all frames that are complete."
    )


def _experiment(made: SeriesReport) -> ReportSection:
    its = ReportSection("experiment", "Experiment", facts=list(made.sections))
    its.folded.append(("The whole experiment, as a file", experiment_to_yaml(made.summary.experiment)))
    its.text += [f"Note: {note}." for note in made.notes]
    return its


def _pictures(made: SeriesReport) -> ReportSection:
    its = ReportSection("pictures", "Pictures", text=left_out("frame", made.damaged))
    images = made.images
    if not made.frames:
        its.text.append(none_yet(images))
        return its
    its.text.append(_looked_at(made))
    preview, frame = Preview(images), made.frames[len(made.frames) // 2]
    held = f"{preview.product.name} in {unit_label(preview.units)}"
    dots = "A dot of the picture is the brightest of the pixels that it stands for, which its scale says."
    for number, span, what in (
        ("frame", range(frame, frame + 1), f"Frame {frame}"),
        (
            "maximum",
            made.stretch,
            f"The largest value of each pixel over frames {made.stretch.start} to {made.stretch.stop - 1}",
        ),
    ):
        figure = picture_of(preview, span)
        caption = f"{what}, {phi_title(images, span)}: {held}. {dots}"
        its.figures.append(ReportFigure.of(figure, number, caption, f"{what}: spots, dark on white", "png"))
    return its


def _resolution(made: SeriesReport) -> ReportSection:
    its = ReportSection("resolution", "Photons by resolution")
    if made.profile is None or made.shells is None:
        its.text.append(none_yet(made.images))
        return its
    mean_of = f"the mean of {number_of(len(made.frames), 'frame')}"
    figure = radial_figure(made.profile, "", "photon")
    its.figures.append(
        ReportFigure.of(
            figure,
            "radial-profile",
            f"Expected photons per pixel in narrow rings by resolution, of {mean_of}: mean, median and percentiles of the pixels of a "
            "ring. Masked pixels and shadows are left out.",
            "Photons per pixel against resolution in Angstrom",
        )
    )
    shells = made.shells
    background = "" if shells.background is None else ", and what of them is background"
    its.figures.append(
        ReportFigure.of(
            shells_figure(shells.edges_A, shells.photons, shells.background),
            "shells",
            f"Expected photons per pixel in {len(shells.photons)} shells of equal volume in reciprocal space{background}, of {mean_of}.",
            "Photons per pixel in shells of resolution",
        )
    )
    head = ["d (Å)", "pixels", "photons per pixel"]
    columns: list[list[str]] = [
        [
            f"{low:.3g} to {high:.3g}" if math.isfinite(low) else f"over {high:.3g}"
            for low, high in zip(shells.edges_A, shells.edges_A[1:], strict=False)
        ],
        [f"{pixels:,}" for pixels in shells.pixels],
        [amount(value) for value in shells.photons],
    ]
    for name, values in (
        ("of which background", shells.background),
        ("spots per frame", shells.spots),
        ("photons per spot", shells.spot_photons),
        ("signal over noise", shells.signal_over_noise),
        ("overlap", shells.overlap),
    ):
        if values is not None:
            head.append(name)
            columns.append([amount(value) for value in values])
    its.tables.append(ReportTable(head, list(zip(*columns, strict=True)), f"By resolution: {mean_of}."))
    if shells.spots is None:
        its.text.append(f"Nothing is said of spots by resolution. {NO_SPOTS}")
    return its


def _wilson(made: SeriesReport) -> ReportSection:
    its = ReportSection("wilson", "Wilson plot")
    curves = {curve.name: (curve.listed, curve.rendered) for curve in made.wilson}
    amplitudes = sum(int(curve.listed_count.sum()) for curve in made.wilson)
    spots = sum(int(curve.rendered_count.sum()) for curve in made.wilson if curve.rendered_count is not None)
    caption = (
        f"Natural logarithm of the mean of F² (electron²) in shells of 1/(4d²). Line: the {amplitudes:,} amplitudes that the frames "
        "are rendered with, to the farthest corner of the detector, without those that are 0."
    )
    if spots:
        caption += (
            f" Circles: the photons of {spots:,} spots by their labels over the photons that one electron² would have given each, by its "
            "Lorentz, polarization and capture factors, the part of it that the frame has, dose and fluence (kernels.prediction). Spots "
            "that an edge or a gap cuts lower them."
        )
    its.figures.append(
        ReportFigure.of(
            wilson_figure(made.squared_per_A2, curves),
            "wilson-plot",
            caption,
            "Logarithm of mean intensity against 1 over 4 d squared",
        )
    )
    if spots:
        its.text.append(
            "Both are on the absolute scale of electrons: where frames are what their amplitudes say, circles lie on the line, but for "
            "the few reflections that a shell has in these frames. Nothing is divided by sums of squared scattering factors."
        )
    else:
        its.text.append(f"What the frames have is not drawn. {NO_SPOTS}")
    return its


def _strongest(made: SeriesReport) -> ReportSection:
    its = ReportSection("strongest", "Strongest reflections")
    if not made.strongest:
        why = (
            none_yet(made.images) if not made.frames else "No spot of these frames is clear of edges and masked pixels."
        )
        its.text.append(why)
        return its
    labelled = made.spots is not None
    several = len(made.summary.schema.panels) > 1
    lattices = len(made.wilson) > 1
    preview = Preview(made.images)
    pictures = [
        SpotPicture(spot.view, spot.first, f"{spot.name}, frame {spot.frame}", spot.place, spot.box)
        for spot in made.strongest
    ]
    box = " and the box of its label in blue" if labelled else ""
    its.figures.append(
        ReportFigure.of(
            spots_figure(pictures, preview.units),
            "spots",
            f"The strongest reflections of the frames looked at, each in that one of them where it is brightest: h k l, "
            f"{preview.product.name} in {unit_label(preview.units)}, with its centroid as a cross{box}.",
            "Pixels about the strongest spots",
            "png",
        )
    )
    its.tables.append(_strongest_table(made.strongest, several, lattices))
    curves = [
        Curve(f"{spot.name}, {spot.d_A:.3g} Å", spot.phi_edges_deg, spot.pixels, spot.predicted, spot.labelled)
        for spot in made.strongest
        if len(spot.frames) > 1
    ]
    if curves:
        labels = " Dots: the photons of its labels." if labelled else ""
        its.figures.append(
            ReportFigure.of(
                rocking_figure(curves),
                "rocking-curves",
                "Rocking curves: photons of a reflection in each frame, by rotation. Grey: intensity of the pixels about it, "
                "less the median of those beside them; frames that are not rendered have none. Line: predicted, with a Gaussian of the "
                f"reflection's width, whatever the shape of the crystal.{labels}",
                "Photons of the strongest reflections against rotation in degrees",
            )
        )
    else:
        its.text.append("There are no rocking curves: each of these reflections is seen in one frame.")
    if not labelled:
        its.text.append(f"Which reflections are the strongest is predicted. {NO_SPOTS}")
    return its


def _strongest_table(spots: list[StrongReflection], several: bool, lattices: bool) -> ReportTable:
    """What there is of each: with its panel and its lattice where there are several."""
    columns: dict[str, list[str]] = {"h k l": [spot.name for spot in spots]}
    if lattices:
        columns["lattice"] = [str(spot.lattice) for spot in spots]
    columns |= {"d (Å)": [f"{spot.d_A:.3f}" for spot in spots], "frame": [str(spot.frame) for spot in spots]}
    if several:
        columns["panel"] = [str(spot.panel) for spot in spots]
    columns |= {
        "slow": [f"{spot.place[0]:.2f}" for spot in spots],
        "fast": [f"{spot.place[1]:.2f}" for spot in spots],
        "photons": [amount(spot.photons) for spot in spots],
    }
    for name in ("background", "partiality", "overlap"):
        values = [getattr(spot, name) for spot in spots]
        if None not in values:
            columns[name] = [amount(value) for value in values]
    return ReportTable(
        list(columns),
        list(zip(*columns.values(), strict=True)),
        "Each in its frame; photons are expected ones, pixels count from 0.",
    )
