"""What every section of an experiment shares: frozen, strict about names, and field types that say their unit and range."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of an experiment: immutable, unknown fields refused, no infinities or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


def _nonzero(vector: tuple[float, float, float]) -> tuple[float, float, float]:
    if not any(vector):
        raise ValueError("a direction cannot be 0 0 0")
    return vector


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Vector = tuple[float, float, float]
Direction = Annotated[Vector, AfterValidator(_nonzero)]
Pair = tuple[float, float]
Matrix = tuple[Vector, Vector, Vector]
FilePath = Annotated[
    Path, Field(description="path; relative ones are relative to the experiment file, $NAME and ~ are expanded")
]
