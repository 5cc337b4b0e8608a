"""Making or reopening the store of a run, and holding it: nothing is written before everything has been checked."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nbdist.errors import RunError, StoreError
from nbdist.experiment import Experiment
from nbdist.planning import Settings, Unit, make_plan
from nbdist.run.context import RunContext, make_context
from nbdist.run.progress import Progress, Report
from nbdist.scene import resolve
from nbdist.scene.amplitudes import Reflections
from nbdist.store import StoredUnits, create_store, exists, open_group, remove
from nbdist.store.creation import complete_store
from nbdist.store.locations import LAST_MADE, check_writable, one_line
from nbdist.store.number_set import NumberSet
from nbdist.store.objects import ROOT, objects_at
from nbdist.store.occupancy import Occupation, occupy
from nbdist.store.parts import Part, note_part
from nbdist.store.units import store_id_of

RECORD = re.compile(r"\d+\.json")
"""Name of the record of a unit that was finished."""
SIZES = ("tile", "phi_chunk", "frames_per_shard")


@contextlib.contextmanager
def opened(
    experiment: Experiment,
    location: str,
    *,
    resume: bool,
    overwrite: bool,
    frames: range | None,
    part: Part | None,
    make: dict[str, Any],
    made_by: dict[str, Any] | None,
) -> Iterator[tuple[RunContext, list[Unit], Occupation]]:
    """The context of a run, its units that are not complete, and its hold on the store, which ends with the block.

    A part joins the store where there is one, whoever made it, and makes it where there is none. The store is held before anything is
    written or removed. One of which no unit was ever finished, as a start that failed leaves it, is no obstacle: where a run is not to
    go on with it, it is made anew.

    Raises
    ------
    NbdistError
        If the request is wrong, the store is another's or held by another run, or cannot be written.
    """
    if overwrite and (resume or part):
        other = "resume" if resume else "a part"
        raise RunError(f"{other} and overwrite exclude each other")
    if part and frames is not None:
        raise RunError("a part and frames exclude each other: a part is one of the whole series")
    wanted = _Wanted(experiment, location, resume or part is not None, overwrite, part, frames, make)
    context, anew = wanted.checked()
    objects = objects_at(location)
    with _one_line(objects.location):
        occupation = occupy(objects, part)
    try:
        if anew:
            context = wanted.made(context, occupation, made_by)
        complete_store(location, context.resolved, context.plan, _reflections(context))
        context.reflections = None  # they are in the store, where whoever renders finds them
        with _one_line(objects.location):
            note_part(objects, part) if part else objects.sweep()
        units = part.share(list(context.plan.units())) if part else list(context.plan.units(frames))
        yield context, incomplete(context, units, doubt=True), occupation
    finally:
        occupation.release()


@contextlib.contextmanager
def _one_line(location: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{location} cannot be written: {one_line(error)}") from None


def incomplete(context: RunContext, units: list[Unit], doubt: bool = False) -> list[Unit]:
    """Those units that are not complete in the store (with `doubt`, or that have changed and do not decode).

    Raises
    ------
    StoreError
        If another store lies there by now.
    """
    assert context.location is not None
    group = open_group(context.location)
    if store_id_of(group) != context.store_id:
        raise StoreError(f"{context.location} is another store than the one this run began; another run replaced it")
    stored = StoredUnits(group)
    whole = stored.sound(units) if doubt else (unit for unit, _ in stored.complete(units))
    complete = NumberSet(unit.number for unit in whole)
    return [unit for unit in units if unit.number not in complete]


def watched(report: Report, occupation: Occupation) -> Report:
    """A report that ends the run where its store is not its own any more."""

    def reported(progress: Progress) -> None:
        occupation.require()
        report(progress)

    return reported


def _reflections(context: RunContext) -> Reflections:
    assert context.reflections is not None, "nothing has been rendered yet"
    return context.reflections


def _holds_nothing(location: str) -> bool:
    """Whether a store of nbdist lies there of which no unit was ever finished, as a start that failed leaves it."""
    try:
        open_group(location, begun=True)
    except StoreError:
        return False
    return not any(RECORD.fullmatch(name) for name in objects_at(location).each_name(LAST_MADE))


@dataclass(frozen=True)
class _Wanted:
    """What a run asks for: which series, where, and what may become of a store that lies there.

    Attributes
    ----------
    joins
        Whether it goes on with a store that exists.
    overwrite
        Whether it replaces one.
    """

    experiment: Experiment
    location: str
    joins: bool
    overwrite: bool
    part: Part | None
    frames: range | None
    make: dict[str, Any]

    def checked(self) -> tuple[RunContext, bool]:
        """The context of the run, and whether the store is to be made anew; nothing is written."""
        if exists(self.location) and not self.overwrite:
            try:
                return self._joined(), False
            except StoreError:
                if self.joins or not _holds_nothing(self.location):
                    raise
        elif self.overwrite and exists(self.location):
            open_group(self.location, begun=True)
        check_writable(self.location)
        make = {**self.make, "kernel": self.make["kernel"] or "compiled"}
        context = make_context(self.experiment, location=self.location, **make)
        context.plan.units(self.frames)
        return context, True

    def made(self, context: RunContext, occupation: Occupation, made_by: dict[str, Any] | None) -> RunContext:
        """Make the store, while it is held by this run; the context of the run, in which it may go on with one that came first."""
        replaced = exists(self.location) and (self.overwrite or (not self.joins and _holds_nothing(self.location)))
        if replaced:
            remove(self.location, keep={ROOT, *occupation.keys})
        context.store_id = create_store(
            self.location, context.resolved, context.plan, _reflections(context), made_by=made_by, replace=replaced
        )
        return context if context.store_id is not None else self._joined()

    def _joined(self) -> RunContext:
        if not self.joins:
            open_group(self.location)
            raise StoreError(f"{self.location} exists; --resume goes on with it, --overwrite replaces it")
        return _reopened(self.experiment, self.location, self.frames, self.make)


def _reopened(experiment: Experiment, location: str, frames: range | None, make: dict[str, Any]) -> RunContext:
    attributes = dict(open_group(location, begun=True).attrs)
    try:
        fingerprint, kept = str(attributes["fingerprint"]), Settings.from_attributes(dict(attributes["plan"]))
    except (KeyError, TypeError, ValueError):
        raise StoreError(f"{location}: its attributes are not those of a series") from None
    if fingerprint != experiment.fingerprint:
        empty = (
            "; no frame of it is rendered, and a run without --resume replaces it" if _holds_nothing(location) else ""
        )
        raise StoreError(
            f"{location} holds another experiment (fingerprint {fingerprint[:12]}, this one {experiment.fingerprint[:12]}); "
            f"going on with it needs the same one{empty}"
        )
    sizes = {name: make[name] for name in SIZES}
    wanted = make_plan(resolve(experiment), **sizes).settings
    for name, size in sizes.items():
        if size is not None and getattr(wanted, name) != getattr(kept, name):
            raise StoreError(f"{location} was begun with {name} {getattr(kept, name)}; it cannot go on with {size}")
    if make["kernel"] not in (None, kept.kernel):
        raise StoreError(f"{location} was begun with the {kept.kernel} kernel; it cannot go on with {make['kernel']}")
    context = make_context(experiment, location=location, workers=make["workers"], device=make["device"], settings=kept)
    context.plan.units(frames)
    context.store_id = str(attributes.get("store_id", ""))
    return context
