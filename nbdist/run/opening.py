"""Making or reopening the store of a run, and holding it: nothing is written before everything has been checked."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

from nbdist.errors import StoreError, one_line
from nbdist.kernels.devices import Device
from nbdist.planning import Settings, Units
from nbdist.run.context import Context
from nbdist.run.settings import RunSettings
from nbdist.run.subjects import Subject
from nbdist.store import StoredUnits, create_store, exists, open_group, remove
from nbdist.store.creation import complete_store
from nbdist.store.locations import LAST_MADE, check_writable
from nbdist.store.number_set import NumberSet
from nbdist.store.objects import ROOT
from nbdist.store.occupancy import Occupation, occupy
from nbdist.store.parts import note_part
from nbdist.store.places import objects_at
from nbdist.store.units import store_id_of

RECORD = re.compile(r"\d+\.json")
"""Name of the record of a unit that was finished."""
C = TypeVar("C", bound=Context)


@dataclass(frozen=True)
class HeldStore(Generic[C]):
    """A store that is held by this run.

    Attributes
    ----------
    subject
        What it is made of.
    context
        The numbers and the plan of that.
    units
        What the run has to render: those of its units that are not complete.
    occupation
        The hold on the store.
    """

    subject: Subject[C]
    context: C
    units: Units
    occupation: Occupation


@contextlib.contextmanager
def opened(
    subject: Subject[C], location: str, settings: RunSettings, workers: int, device: Device
) -> Iterator[HeldStore[C]]:
    """The store of a run, held until the end of the block.

    A part joins the store where there is one, whoever made it, and makes it where there is none. The store is held before anything is
    written or removed. One of which no unit was ever finished, as a start that failed leaves it, is no obstacle: where a run is not to
    go on with it, it is made anew.

    Parameters
    ----------
    subject
        What the store is made of.
    workers, device
        What a new store's plan is made for.

    Raises
    ------
    NbdistError
        If the request is wrong, the store is another's or held by another run, or cannot be written.
    """
    request = _Request(subject, location, settings, workers, device)
    its, anew = request.checked()
    objects, part = objects_at(location), settings.part
    with _failing_in_one_line(objects.location):
        occupation = occupy(objects, part)
    try:
        if anew:
            its = request.made(its, occupation)
        subject, context = its.subject, its.context
        complete_store(location, subject.content(context))
        context.forget()
        subject.grow(location)
        with _failing_in_one_line(objects.location):
            if part:
                note_part(objects, part)
            elif settings.sweep:
                objects.sweep()
        units = part.share(context.plan.units()) if part else context.plan.units(settings.frames)
        yield HeldStore(subject, context, incomplete(context, units, doubt=True), occupation)
    finally:
        occupation.release()


@contextlib.contextmanager
def _failing_in_one_line(location: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{location} cannot be written: {one_line(error)}") from None


def incomplete(context: Context, units: Units, doubt: bool = False) -> Units:
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
    return Units(units.frames, units.size, NumberSet(units.numbers) - complete)


def _holds_nothing(location: str) -> bool:
    """Whether a store of nbdist lies there of which no unit was ever finished, as a start that failed leaves it."""
    try:
        open_group(location, begun=True)
    except StoreError:
        return False
    return not any(RECORD.fullmatch(name) for name in objects_at(location).each_name(LAST_MADE))


@dataclass(frozen=True)
class _Planned(Generic[C]):
    """What a run makes, as the store has it, with its context."""

    subject: Subject[C]
    context: C


@dataclass(frozen=True)
class _Request(Generic[C]):
    """What is asked for, where, and the workers that its plan is made for."""

    subject: Subject[C]
    location: str
    settings: RunSettings
    workers: int
    device: Device

    def checked(self) -> tuple[_Planned[C], bool]:
        """What the run makes, and whether the store is to be made anew; nothing is written."""
        if exists(self.location) and not self.settings.overwrite:
            try:
                return self._joined(), False
            except StoreError:
                if self.settings.joins or not _holds_nothing(self.location):
                    raise
        elif self.settings.overwrite and exists(self.location):
            open_group(self.location, begun=True)
        check_writable(self.location)
        context = self.subject.context(
            location=self.location,
            workers=self.workers,
            device=self.device,
            kernel=self.settings.kernel or "compiled",
            cut=self.settings.cut,
        )
        context.plan.units(self.settings.frames)
        return _Planned(self.subject, context), True

    def made(self, planned: _Planned[C], occupation: Occupation) -> _Planned[C]:
        """Make the store, while it is held by this run; what the run makes, which may go on with one that came first."""
        settings, location = self.settings, self.location
        replaced = exists(location) and (settings.overwrite or (not settings.joins and _holds_nothing(location)))
        if replaced:
            remove(location, keep={ROOT, *occupation.keys})
        subject, context = planned.subject, planned.context
        made_by = {**(settings.made_by or {}), **subject.provenance}
        content = subject.content(context)
        context.store_id = create_store(location, content, made_by=made_by, replace=replaced)
        return planned if context.store_id is not None else self._joined()

    def _joined(self) -> _Planned[C]:
        """What a run makes that goes on with the store that is there.

        Raises
        ------
        StoreError
            If it must not, or the store is of something else, cut in another way, or rendered with another kernel.
        """
        location, cut, kernel = self.location, self.settings.cut, self.settings.kernel
        if not self.settings.joins:
            open_group(location)
            raise StoreError(f"{location} exists; --resume goes on with it, --overwrite replaces it")
        attributes = dict(open_group(location, begun=True).attrs)
        try:
            kept = Settings.from_attributes(dict(attributes["plan"]))
            subject = self.subject.as_stored(location, attributes)
        except (KeyError, TypeError, ValueError):
            raise StoreError(f"{location}: its attributes are not those of a store of nbdist") from None
        except StoreError as error:
            if not _holds_nothing(location):
                raise
            raise StoreError(f"{error}; no frame of it is rendered, and a run without --resume replaces it") from None
        context = subject.context(location=location, workers=self.workers, device=self.device, settings=kept)
        wanted = context.settings(cut)
        for name, size in asdict(cut).items():
            if size is not None and getattr(wanted, name) != getattr(kept, name):
                raise StoreError(f"{location} was begun with {name} {getattr(kept, name)}; it cannot go on with {size}")
        if kernel not in (None, kept.kernel):
            raise StoreError(f"{location} was begun with the {kept.kernel} kernel; it cannot go on with {kernel}")
        context.plan.units(self.settings.frames)
        context.store_id = str(attributes.get("store_id", ""))
        return _Planned(subject, context)
