"""The truth that is written with the frames: which reflections there are, where their photons fall, and what lies under them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from nbdist.experiment.fields import Section

ALL = "all"
"""Stands for a section in which every label is asked for."""


def _or_all(schema: dict[str, Any]) -> None:
    """Let the JSON schema of the section allow the one word, too."""
    section = dict(schema)
    schema.clear()
    schema.update(anyOf=[{"const": ALL}, section])


class Labels(Section):
    """What is known of each frame besides its photons. `labels: all` asks for all of it."""

    model_config = ConfigDict(json_schema_extra=_or_all)

    reflections: bool = Field(False, description="once a series: each reflection that crosses the Ewald sphere")
    spots: bool = Field(
        False, description="a row for each reflection of each frame: photons, centroid, extent, overlap"
    )
    bragg: bool = Field(False, description="photons a pixel that the crystals diffract")
    background: bool = Field(False, description="photons a pixel of the background")
    spot: bool = Field(False, description="which spot of the frame a pixel belongs to: 0, or 1 + its row among them")
    resolution: bool = Field(False, description="once a series: spacing in Angstrom that scatters to each pixel")
    shadow: bool = Field(
        True, description="once a series, where there are shadows: pixels that most photons do not reach"
    )
    spot_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="a pixel belongs to a spot where more than this share of its photons are Bragg photons"
    )

    @model_validator(mode="before")
    @classmethod
    def _all_of_them(cls, given: Any) -> Any:
        if given == ALL:
            return {name: True for name, field in cls.model_fields.items() if field.annotation is bool}
        if isinstance(given, str):
            raise ValueError(f"should be {ALL}, or the labels by name, each true or false; found {given}")
        return given

    @property
    def of_frames(self) -> bool:
        """Whether any label is asked for that each frame has of its own."""
        return self.spots or self.bragg or self.background or self.spot

    @property
    def of_reflections(self) -> bool:
        """Whether any label is asked for that needs the list of reflections."""
        return self.reflections or self.spots or self.spot
