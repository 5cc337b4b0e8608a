"""Where the photons of a series come from: they are rendered, or those that another store holds are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from nbdist.errors import StoreError
from nbdist.experiment import Experiment
from nbdist.planning import Cut, Settings, Units
from nbdist.run.context import RunContext, make_context
from nbdist.run.jobs import FrameRenderer, StoreJob
from nbdist.store.creation import PHOTONS_OF


class Origin(Protocol):
    """What a run makes frames of."""

    @property
    def provenance(self) -> Mapping[str, object]:
        """What a new store says of it."""

    def context(
        self,
        experiment: Experiment,
        *,
        workers: int,
        device: str,
        location: str,
        kernel: str = "compiled",
        cut: Cut = ...,
        settings: Settings | None = None,
    ) -> RunContext:
        """The numbers and the plan of a series; see `make_context`."""

    def require_same(self, location: str, provenance: object) -> None:
        """Check that a store that a run is to go on with was begun with photons from here.

        Raises
        ------
        StoreError
            If its photons come from elsewhere.
        """

    def ready(self, units: Units) -> Units:
        """Those of some units whose photons can be had now."""

    def require_ready(self, units: Units) -> None:
        """Check that the photons of units can be had.

        Raises
        ------
        UnfinishedError
            Naming frames whose photons are not there yet.
        """

    def job(self, context: RunContext) -> StoreJob[RunContext]:
        """What the workers are handed."""


@dataclass(frozen=True)
class Rendering:
    """The origin of photons that are rendered.

    Attributes
    ----------
    render_frame
        What renders a frame; the renderer of the experiment's scene where None. It travels to the workers.
    """

    render_frame: FrameRenderer | None = None

    context = staticmethod(make_context)

    @property
    def provenance(self) -> Mapping[str, object]:
        """Empty: the experiment says it all."""
        return {}

    def require_same(self, location: str, provenance: object) -> None:
        """Check that its photons are those of rendering: frames that were read are, unless they were scaled from another exposure."""
        said = provenance.get(PHOTONS_OF) if isinstance(provenance, dict) else None
        if isinstance(said, dict) and said.get("exposure_ratio", 1.0) != 1:
            raise StoreError(
                f"{location} was begun with the photons of {said.get('location')}, scaled from another exposure; "
                "nbdist readout --resume goes on with it"
            )

    def ready(self, units: Units) -> Units:
        """All of the units: photons are rendered."""
        return units

    def require_ready(self, units: Units) -> None:
        """Do nothing: all photons can be had."""

    def job(self, context: RunContext) -> StoreJob[RunContext]:
        """A job that renders."""
        return StoreJob(context, self.render_frame)


RENDERED = Rendering()
