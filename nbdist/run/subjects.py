"""What a run makes a store of: a series, or the samples of a recipe (`datasets`). The run is the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from nbdist.errors import StoreError
from nbdist.experiment import Experiment
from nbdist.planning import Cut, Settings, Units
from nbdist.run.context import Context, RunContext
from nbdist.run.jobs import StoreJob
from nbdist.run.origins import RENDERED, Origin
from nbdist.store import SeriesContent
from nbdist.store.creation import StoreContent

C = TypeVar("C", bound=Context)


class Subject(Protocol[C]):
    """What a store is made of."""

    @property
    def frames_per_sample(self) -> int | None:
        """Frames of each of its samples, by which it is counted; None of a series."""

    @property
    def method(self) -> str:
        """Method of its sampling: "sum" or "integrated"."""

    @property
    def provenance(self) -> Mapping[str, object]:
        """What a new store says of it, besides its content."""

    def as_stored(self, location: str, attributes: Mapping[str, Any]) -> Self:
        """This subject as a store has it that a run is to go on with, by the attributes of the store.

        Raises
        ------
        StoreError
            If the store is of another one.
        """

    def context(
        self,
        *,
        workers: int,
        device: str,
        location: str,
        kernel: str = "compiled",
        cut: Cut = ...,
        settings: Settings | None = None,
    ) -> C:
        """Its numbers and its plan; see `make_context`."""

    def content(self, context: C) -> StoreContent:
        """What a new store is to hold."""

    def grow(self, location: str) -> None:
        """Make a store that is held and shorter than it as long as it is."""

    def ready(self, units: Units) -> Units:
        """Those of some units that can be made now."""

    def require_ready(self, units: Units) -> None:
        """Check that units can be made.

        Raises
        ------
        UnfinishedError
            Naming frames that cannot be made yet.
        """

    def job(self, context: C) -> StoreJob[C]:
        """What the workers are handed."""


@dataclass(frozen=True)
class SeriesSubject:
    """A series, as what a store is made of.

    Attributes
    ----------
    experiment
        What is simulated.
    origin
        Where its photons come from.
    """

    experiment: Experiment
    origin: Origin = RENDERED

    @property
    def frames_per_sample(self) -> None:
        """None: it is counted by frames."""

    @property
    def method(self) -> str:
        """Method of the experiment's sampling."""
        return self.experiment.sampling.method

    @property
    def provenance(self) -> Mapping[str, object]:
        """What its origin says."""
        return self.origin.provenance

    def as_stored(self, location: str, attributes: Mapping[str, Any]) -> Self:
        """This series: a store is of the same experiment, with photons of the same origin, or of another series."""
        require_same(location, attributes, self.experiment.fingerprint, "experiment")
        self.origin.require_same(location, attributes.get("provenance"))
        return self

    def context(self, *, location: str, **asked: Any) -> RunContext:
        """Its numbers and its plan."""
        return self.origin.context(self.experiment, location=location, **asked)

    def content(self, context: RunContext) -> SeriesContent:
        """Its scene, plan and amplitudes."""
        assert context.reflections is not None, "nothing has been rendered yet"
        return SeriesContent(context.scene, context.plan, context.reflections, context.held)

    def grow(self, location: str) -> None:
        """Do nothing: the frames are the experiment's."""

    def ready(self, units: Units) -> Units:
        """Those of some units whose photons its origin has."""
        return self.origin.ready(units)

    def require_ready(self, units: Units) -> None:
        """Check that its origin has their photons."""
        self.origin.require_ready(units)

    def job(self, context: RunContext) -> StoreJob[RunContext]:
        """The job of its origin."""
        return self.origin.job(context)


def require_same(location: str, attributes: Mapping[str, Any], fingerprint: str, what: str) -> None:
    """Check that a store is of an experiment or a recipe.

    Raises
    ------
    StoreError
        If it is of another one.
    """
    found = str(attributes["fingerprint"])
    if found != fingerprint:
        raise StoreError(
            f"{location} holds another {what} (fingerprint {found[:12]}, this one "
            f"{fingerprint[:12]}); going on with it needs the same one"
        )
