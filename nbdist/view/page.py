"""The page of `nbdist view`: an image, what is said of it, and the controls, drawn by Bokeh.

What holds: the document is changed by the server's own thread alone. What takes time is asked of the model in threads, one for each thing
that is waited for, and the newest request wins; what is shown stays until the new one is there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.events import DocumentReady, MouseLeave, MouseMove, Tap
from bokeh.layouts import column, row
from bokeh.models import (
    BoxZoomTool,
    Button,
    CheckboxGroup,
    ColorBar,
    ColumnDataSource,
    CustomJS,
    Div,
    LinearColorMapper,
    LogColorMapper,
    NumericInput,
    PanTool,
    Range1d,
    ResetTool,
    SaveTool,
    Select,
    Slider,
    Spinner,
    WheelZoomTool,
)
from bokeh.palettes import Category20, Cividis256, Greys256, Inferno256, Viridis256
from bokeh.plotting import figure
from jinja2 import Template

from nbdist.formats.scales import ScaleName, limits, unit_label
from nbdist.formats.views import COLOURS, NAMES, State
from nbdist.frames.products import SPOT
from nbdist.run.preview import phi_title
from nbdist.view.model import Look, Model, Picture, Pixel, RockingCurve, Spots, Window
from nbdist.view.newest import Newest

SCREEN_DOTS = 1280, 900
"""Of the browser's window, until it says how large it is."""
SIDE_DOTS = 330
"""Across the controls."""
AROUND_DOTS = SIDE_DOTS + 210, 190
"""What the image leaves to all else, across and down."""
HEAD_DOTS = 700
"""Across what is said above and below the image."""
LEAST_DOTS = 300
"""Of the image, along its longer side, on any screen."""
LOOK_AGAIN_MS = 2000
"""How often an unfinished store is looked at for new frames; less often where that takes long."""
NAME_DOTS = 60, 14
"""Of the h, k, l of a spot, across and down: of two that would lie nearer the brighter spot has its own written."""
PAGE_FRAMES = 10
"""Frames that page up and page down go."""
NOTHING = "&nbsp;"
WORDS: Callable[..., Div] = partial(Div, disable_math=True)
"""Text of the page: what a store says in it is no formula, in which there can be links that run scripts."""
MAPS: dict[str, tuple[str, ...]] = {
    "dark on white": tuple(reversed(Greys256)),
    "white on dark": tuple(Greys256),
    "viridis": tuple(Viridis256),
    "inferno": tuple(Inferno256),
    "cividis": tuple(Cividis256),
}
EMPTY: dict[str, list[Any]] = {"image": [], "x": [], "y": [], "dw": [], "dh": []}
OF_SPOTS = ("#ffffff", *Category20[20])
"""Of pixels of no spot, and of spots in turn."""
LEAST_PIXELS = 8
"""Across what can be zoomed in to."""
SMALLEST = 1e-12
"""Least value that a logarithmic scale begins at, and least difference between its ends."""
LATTICES = (
    "#d62728",
    "#1f77b4",
    "#2ca02c",
    "#9467bd",
    "#ff7f0e",
    "#17becf",
    "#e377c2",
    "#8c564b",
    "#bcbd22",
    "#7f7f7f",
)
SCRIPT = """
document.addEventListener("keydown", (event) => {
  const typing = event.composedPath()[0].matches("input:not([type=checkbox]), select, textarea")
  const steps = {ArrowLeft: -1, ArrowRight: 1, PageUp: -page, PageDown: page, Home: -last, End: last}
  if (typing || event.ctrlKey || event.altKey || event.metaKey || !(event.key in steps)) return
  event.preventDefault()
  event.stopImmediatePropagation()
  const now = sample.value * together + frame.value
  const to = Math.min(last, Math.max(0, now + steps[event.key]))
  sample.value = Math.floor(to / together)
  frame.value = to % together
}, true)
const measure = () => { said.tags = [window.innerWidth, window.innerHeight] }
window.addEventListener("resize", measure)
measure()
"""
"""Keys, which no control has: those of a slider go a frame as well, wherever the focus is. And how large the window is."""
TEMPLATE = '{% extends base %}{% block preamble %}<link rel="icon" href="data:,">{% endblock %}'
"""A page with an icon of its own, an empty one: browsers ask for one without the token otherwise."""


def _colour(state: State) -> str:
    red, green, blue, opacity = COLOURS.get(state, (1.0, 1.0, 1.0, 0.0))
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue, opacity))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def _when(model: Any, name: str, do: Callable[[], None]) -> None:
    """Do something whenever a property changes."""
    model.on_change(name, lambda attr, old, new: do())


class Page:
    """A page of one viewer.

    Parameters
    ----------
    document
        Which it is put into.
    model
        Of the store; pages share it.
    """

    def __init__(self, document: Document, model: Model) -> None:
        self._document, self._model = document, model
        self._setting = False
        self._looked_next = 0.0
        self._complete = model.images.complete
        self._shown: tuple[Look, Picture] | None = None
        self._pointed: tuple[float, float] | None = None
        self._limits = 0.0, 1.0, False
        deliver: Callable[[Callable[[], None]], object] = document.add_next_tick_callback
        self._threads = {
            name: Newest(deliver, partial(self._failed, name))
            for name in ("picture", "pointer", "spots", "curve", "frames")
        }
        self._make_controls()
        self._make_image()
        self._make_curve()
        self._lay_out()
        document.on_session_destroyed(self._close)
        self._fit()
        self._ask_picture()

    # what is looked at

    @property
    def _look(self) -> Look:
        together = self._model.frames_of_sample
        first = int(self._sample.value) * together + int(self._frame.value)
        end = (int(self._sample.value) + 1) * together
        panel = None if self._panel.value == "all" else int(self._panel.value)
        return Look(self._product.value, panel, range(first, min(first + int(self._over.value or 1), end)))

    @property
    def _window(self) -> Window:
        x, y = self._image.x_range, self._image.y_range
        across, down = sorted((x.start, x.end)), sorted((y.start, y.end))
        return Window((down[0], down[1]), (across[0], across[1]), (self._image.frame_height, self._image.frame_width))

    # what the page is made of

    def _make_controls(self) -> None:
        model, wide = self._model, {"width": SIDE_DOTS - 20}
        half = {"width": (SIDE_DOTS - 30) // 2}
        samples, together = model.samples, model.frames_of_sample
        self._said = WORDS(name="said", height=72, tags=list(SCREEN_DOTS), **wide)
        self._sample = Slider(
            name="sample",
            title="sample",
            start=0,
            end=max(1, samples - 1),
            value=0,
            step=1,
            visible=samples > 1,
            **wide,
        )
        self._frame = Slider(
            name="frame",
            title="frame",
            start=0,
            end=max(1, together - 1),
            value=0,
            step=1,
            visible=together > 1,
            **wide,
        )
        self._over = Spinner(
            name="over",
            title="maximum over frames",
            low=1,
            high=together,
            step=1,
            value=1,
            visible=together > 1,
            **half,
        )
        self._product = Select(name="product", title="shown", options=model.products, value=model.products[0], **half)
        panels = ["all", *(str(number) for number in range(model.panels))]
        self._panel = Select(name="panel", title="panel", options=panels, value="all", visible=model.panels > 1, **half)
        self._scale = Select(name="scale", title="scale", options=["auto", "linear", "log"], value="auto", **half)
        self._map = Select(name="map", title="colours", options=list(MAPS), value=next(iter(MAPS)), **half)
        self._low = NumericInput(name="low", title="drawn from", mode="float", **half)
        self._high = NumericInput(name="high", title="to", mode="float", **half)
        self._each = CheckboxGroup(name="each", labels=["limits of each frame"], active=[0], **wide)
        self._reversed = WORDS(name="reversed", text="nothing lies from the one to the other", visible=False, **wide)
        self._contrast = column(row(self._scale, self._map), row(self._low, self._high), self._reversed, self._each)
        self._options = CheckboxGroup(name="options", labels=["spots", "h k l of the brightest"], active=[], **wide)
        whole = Button(name="whole", label="whole image", **half)
        for control in (self._sample, self._frame, self._over, self._product):
            _when(control, "value", self._ask_picture)
        _when(self._panel, "value", self._fit)
        _when(self._scale, "value", partial(self._scale_again, chosen=True))
        _when(self._map, "value", self._paint)
        _when(self._each, "active", self._scale_again)
        _when(self._options, "active", self._ask_spots)
        for entry in (self._low, self._high):
            _when(entry, "value", self._limits_given)
        whole.on_click(lambda: self._fit())
        _when(self._said, "tags", self._fit)
        self._controls = [
            self._said,
            self._sample,
            self._frame,
            row(self._over, self._product),
            self._contrast,
            self._options,
            row(self._panel, whole),
        ]

    def _make_image(self) -> None:
        tools = [PanTool(), WheelZoomTool(), BoxZoomTool(match_aspect=True), ResetTool(), SaveTool()]
        self._image = figure(
            name="image",
            tools=tools,
            active_scroll=tools[1],
            x_range=Range1d(0, 1, min_interval=LEAST_PIXELS),
            y_range=Range1d(1, 0, min_interval=LEAST_PIXELS),
            frame_width=LEAST_DOTS,
            frame_height=LEAST_DOTS,
            x_axis_label="fast (pixels)",
            y_axis_label="slow (pixels)",
            output_backend="canvas",
            toolbar_location="right",
            lod_threshold=None,
            min_border_left=70,  # the image stays where it is while it is zoomed, however long the numbers beside it
        )
        self._image.toolbar.logo = None
        self._image.grid.visible = False
        self._pixels = ColumnDataSource(dict(EMPTY), name="pixels")
        self._states = ColumnDataSource(dict(EMPTY), name="states")
        self._marks = ColumnDataSource({"x": [], "y": [], "indices": [], "colour": []}, name="spots")
        where = {"image": "image", "x": "x", "y": "y", "dw": "dw", "dh": "dh"}
        # neither an image nor a bar looks at a mapper that takes the place of another: each kind has its own, of which one is seen
        self._mappers = {
            kind is LogColorMapper: kind(palette=["white"], low=1, high=2)
            for kind in (LinearColorMapper, LogColorMapper)
        }
        self._drawn = {
            logarithmic: self._image.image(**where, source=self._pixels, color_mapper=mapper, visible=False)
            for logarithmic, mapper in self._mappers.items()
        }
        palette = tuple(_colour(state) for state in State)
        states = LinearColorMapper(palette=palette, low=-0.5, high=len(palette) - 0.5)
        self._image.image(**where, source=self._states, color_mapper=states)
        self._image.scatter(
            "x", "y", source=self._marks, size=12, marker="circle", fill_color=None, line_color="colour", line_width=1
        )
        self._corners = ColumnDataSource({"x": [], "y": [], "panel": []}, name="panels")
        self._image.text(
            "x",
            "y",
            text="panel",
            source=self._corners,
            x_offset=2,
            y_offset=12,
            text_font_size="11px",
            text_color="#d95f02",
        )
        self._image.text(
            "x",
            "y",
            text="indices",
            source=self._marks,
            x_offset=7,
            y_offset=-5,
            text_font_size="10px",
            text_color="colour",
        )
        self._bars = {
            logarithmic: ColorBar(color_mapper=mapper, width=12, title=None, visible=False)
            for logarithmic, mapper in self._mappers.items()
        }
        for bar in self._bars.values():
            self._image.add_layout(bar, "right")
        for ends in (self._image.x_range, self._image.y_range):
            _when(ends, "start", self._ask_picture)
            _when(ends, "end", self._ask_picture)
        self._image.on_event(MouseMove, lambda event: self._point((event.y, event.x)))
        self._image.on_event(MouseLeave, lambda _: self._point(None))
        self._image.on_event(Tap, self._click)
        self._under = WORDS(name="pointer", width=HEAD_DOTS, text=NOTHING)

    def _make_curve(self) -> None:
        self._rocking = ColumnDataSource({"left": [], "right": [], "top": []}, name="curve")
        self._curve = figure(
            name="rocking",
            title="a click on a spot\nshows its rocking curve",
            min_border_left=60,
            tools=[],
            toolbar_location=None,
            width=SIDE_DOTS,
            height=230,
            x_range=Range1d(0, 1),
            y_range=Range1d(0, 1),
        )
        self._curve.title.text_font_size = "10px"
        self._curve.quad("left", "right", "top", 0, source=self._rocking, fill_color="#9ecae1", line_color="#3182bd")

    def _lay_out(self) -> None:
        model, document = self._model, self._document
        title = model.images.title or "nbdist"
        head = WORDS(text=f"<b>{escape(title)}</b> &nbsp; {escape(model.images.name)}", width=HEAD_DOTS)
        legend = "".join(
            f'<span style="display:inline-block;width:0.8em;height:0.8em;border:1px solid #999;background:{_colour(state)}"></span> '
            f"{name} &nbsp; "
            for state, name in NAMES.items()
        )
        keys = f"keys: &larr; and &rarr; a frame, page up and down {PAGE_FRAMES}, home and end"
        foot = WORDS(text=f"<small>{legend}<br>{keys}</small>", width=HEAD_DOTS)
        document.template = Template(TEMPLATE)
        document.title = f"{title} - nbdist view"
        document.add_root(
            row(
                column(*self._controls, self._curve, width=SIDE_DOTS),
                column(head, self._image, self._under, foot),
            )
        )
        last = model.images.schema.frames - 1
        args = {"sample": self._sample, "frame": self._frame, "said": self._said}
        numbers = f"const page = {PAGE_FRAMES}, last = {last}, together = {model.frames_of_sample};"
        document.js_on_event(DocumentReady, CustomJS(args=args, code=numbers + SCRIPT))
        if not model.finished:
            document.add_periodic_callback(self._ask_frames, LOOK_AGAIN_MS)

    def _fit(self) -> None:
        """Show the whole canvas, each pixel as high as wide."""
        slow, fast = self._model.arrangement(self._look).shape
        across, down = (
            max(LEAST_DOTS, dots - around) for dots, around in zip(self._said.tags, AROUND_DOTS, strict=True)
        )
        dots = min(across / fast, down / slow)
        self._setting = True
        self._image.update(frame_width=max(200, round(fast * dots)), frame_height=max(150, round(slow * dots)))
        middle, half = (slow / 2, fast / 2), (self._image.frame_height / dots / 2, self._image.frame_width / dots / 2)
        for ends, at, reach, sign in zip(
            (self._image.y_range, self._image.x_range), middle, half, (-1, 1), strict=True
        ):
            start, end = at - sign * reach, at + sign * reach
            ends.update(start=start, end=end, reset_start=start, reset_end=end)
        self._setting = False
        self._pointed = None
        self._ask_picture()

    # asking

    def _ask_picture(self) -> None:
        if self._setting:
            return
        look, window = self._look, self._window

        def work(require_newest: Callable[[], None]) -> Picture:
            def report(done: int, total: int) -> None:
                require_newest()
                if total > 1 and done < total and done % max(1, total // 20) == 0:
                    self._document.add_next_tick_callback(partial(self._say, f"{done} of {total} frames are read"))

            return self._model.picture(look, window, report)

        self._threads["picture"].ask(work, partial(self._show_picture, look))
        self._ask_spots()
        self._point(self._pointed)

    def _ask_spots(self) -> None:
        if self._setting:
            return
        if not self._options.active:
            self._marks.data = {"x": [], "y": [], "indices": [], "colour": []}
            return
        look, window = self._look, self._window
        self._threads["spots"].ask(
            lambda require_newest: self._model.spots(look, window, lambda *_: require_newest()), self._show_spots
        )

    def _ask_frames(self) -> None:
        """Look for frames that are rendered by now; where that takes long, after ten times as long."""
        if time.monotonic() < self._looked_next:
            return

        def work(_: Callable[[], None]) -> float:
            began = time.monotonic()
            self._model.look_again()
            return time.monotonic() - began

        self._threads["frames"].ask(work, self._found_frames)

    def _point(self, place: tuple[float, float] | None) -> None:
        """Ask what is at a place, slow and fast, and again whenever something else is shown there."""
        look, self._pointed = self._look, place
        if place is None:
            self._show_pixel(look, None)
        else:
            self._threads["pointer"].ask(lambda _: self._model.pixel(look, *place), partial(self._show_pixel, look))

    def _click(self, event: Any) -> None:
        look, slow, fast = self._look, event.y, event.x
        self._threads["curve"].ask(lambda _: self._model.rocking_curve(look, slow, fast), self._show_curve)

    # showing

    def _say(self, text: str) -> None:
        self._said.text = escape(text)

    def _failed(self, name: str, text: str) -> None:
        """Say what went wrong, and show nothing in the place of what was asked for."""
        if name == "picture":
            self._pixels.data = self._states.data = dict(EMPTY)
        elif name == "pointer":
            self._under.text = NOTHING
        self._say(text)

    def _show_picture(self, look: Look, picture: Picture) -> None:
        before, self._shown = self._shown, (look, picture)
        (slow, fast), factor, (rows, columns) = picture.first, picture.factor, picture.view.values.shape
        where = {"x": [fast], "y": [slow], "dw": [columns * factor], "dh": [rows * factor]}
        values = picture.view.values
        if look.product == SPOT.name:
            values = ((values - 1) % len(OF_SPOTS[1:]) + 1) * (values > 0)
        self._pixels.data = {"image": [values], **where}
        self._states.data = {"image": [picture.view.states], **where}
        slows, fasts = [corner[0] for corner in picture.corners], [corner[1] for corner in picture.corners]
        self._corners.data = {"x": fasts, "y": slows, "panel": [str(number) for number in range(len(slows))]}
        lines = [picture.title, picture.missing, self._model.progress()]
        if factor > 1:
            lines.append(f"a dot is the brightest of {factor} x {factor} pixels")
        self._said.text = "<br>".join(escape(line) for line in lines if line)
        if before is None or before[0] != look or not before[1].view.drawn.any():  # and not while a frame is zoomed
            self._scale_again(chosen=before is None or before[0].product != look.product)

    def _scale_again(self, chosen: bool = False) -> None:
        """Take limits that suit the picture, where each frame has its own, or another scale or product was chosen; and colour it."""
        if self._shown is None:
            return
        if self._each.active or chosen:
            self._limits = self._suiting(self._scale.value)
            self._write_limits(*(float(f"{value:.4g}") for value in self._limits[:2]))
        self._paint()

    def _suiting(self, scale: ScaleName) -> tuple[float, float, bool]:
        """Limits that suit the picture."""
        if self._shown is None:
            return self._limits
        view = self._shown[1].view
        return limits(view.values[view.drawn], scale)

    def _write_limits(self, low: float, high: float) -> None:
        self._setting = True
        self._low.value, self._high.value = low, high
        self._reversed.visible = low >= high
        self._setting = False

    def _limits_given(self) -> None:
        """Take the limits that somebody has written, for all frames from now on; a logarithmic scale begins above 0."""
        if self._setting or self._low.value is None or self._high.value is None:
            return
        low, high, logarithmic = float(self._low.value), float(self._high.value), self._limits[2]
        if logarithmic and low <= 0:
            low = self._suiting("log")[0]
        self._write_limits(low, high)
        self._each.active = []
        if low < high:
            self._limits = low, high, logarithmic
            self._paint()

    def _paint(self) -> None:
        """Colour the picture by the map and the limits."""
        if self._shown is None:
            return
        look = self._shown[0]
        (low, high, logarithmic), palette = self._limits, MAPS[self._map.value]
        numbered = look.product == SPOT.name
        self._contrast.visible = not numbered
        if numbered:
            low, high, logarithmic, palette = -0.5, len(OF_SPOTS) - 0.5, False, OF_SPOTS
        low = max(low, SMALLEST) if logarithmic else low
        self._mappers[logarithmic].update(palette=palette, low=low, high=max(high, low + SMALLEST))
        units = unit_label(self._model.preview(look).units)
        for kind in (False, True):
            self._drawn[kind].visible = kind == logarithmic
            self._bars[kind].update(visible=kind == logarithmic and not numbered, title=units)

    def _show_spots(self, spots: Spots) -> None:
        names = [""] * len(spots.indices)
        if 1 in self._options.active:
            for number in self._readable(spots):
                names[number] = spots.indices[number]
        self._marks.data = {
            "x": spots.fast,
            "y": spots.slow,
            "indices": names,
            "colour": [LATTICES[number % len(LATTICES)] for number in spots.lattice],
        }

    def _readable(self, spots: Spots) -> list[int]:
        """Spots beside which there is room for a name: the brightest, and those that are far enough from brighter ones."""
        window = self._window
        per_dot = (window.fast[1] - window.fast[0]) / window.dots[1]
        near = per_dot * np.array(NAME_DOTS)
        places, chosen = np.stack([spots.fast, spots.slow], axis=1), list[int]()
        for number, place in enumerate(places):
            if not (np.abs(places[chosen] - place) < near).all(axis=1).any():
                chosen.append(number)
        return chosen

    def _show_pixel(self, look: Look, pixel: Pixel | None) -> None:
        if pixel is None or self._pointed is None:  # it has left since
            self._under.text = NOTHING
            return
        value = NAMES[pixel.state] if pixel.value is None else _number(pixel.value)
        if pixel.value is not None and pixel.state in NAMES:
            value += f" ({NAMES[pixel.state]})"
        said = [
            *([f"panel {pixel.panel}"] if self._model.panels > 1 else []),
            f"slow {pixel.slow}",
            f"fast {pixel.fast}",
            f"{look.product} {value}",
            f"{pixel.d_A:.3f} Å",
            *([phi_title(self._model.images, look.frames)] if pixel.state != State.UNFINISHED else []),
        ]
        self._under.text = " &nbsp; ".join(escape(part) for part in said)

    def _show_curve(self, curve: RockingCurve | None) -> None:
        if curve is None or not curve.frames:
            return
        (left, right), top = curve.edges.T, curve.sums
        self._rocking.data = {"left": left, "right": right, "top": top}
        box = f"slow {curve.rows.start}:{curve.rows.stop}, fast {curve.columns.start}:{curve.columns.stop}"
        said = curve.name or "no spot is near", f"{curve.pixels} pixels less the median of those beside", box
        self._curve.title.text = "\n".join(said)
        self._curve.xaxis.axis_label, self._curve.yaxis.axis_label = curve.along, curve.product
        self._curve.x_range.update(start=float(curve.edges.min()), end=float(curve.edges.max()))
        least, most = min(0.0, float(top.min())), max(0.0, float(top.max()))
        self._curve.y_range.update(start=1.05 * least, end=1.05 * most if most > least else 1.0)

    def _found_frames(self, seconds: float) -> None:
        self._looked_next = time.monotonic() + 10 * seconds
        before, self._complete = self._complete, self._model.images.complete
        if before != self._complete:
            self._ask_picture()
        if self._model.finished:
            self._looked_next = math.inf

    def _close(self, _: object) -> None:
        for thread in self._threads.values():
            thread.close()
