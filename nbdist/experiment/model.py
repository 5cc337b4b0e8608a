"""The experiment: everything that decides a pixel's value, in one frozen object with a fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from nbdist.errors import ExperimentError
from nbdist.experiment.beam import Beam
from nbdist.experiment.crystal import Crystal
from nbdist.experiment.detector import Detector
from nbdist.experiment.fields import Section
from nbdist.experiment.sampling import Background, Noise, Sampling
from nbdist.experiment.scan import Scan
from nbdist.experiment.structure_factors import StructureFactors

PHYSICS_VERSION = 1
"""Raised when the same experiment would give other pixel values; it enters the fingerprint."""


class Experiment(Section):
    """What is simulated. Frozen; `experiment.model_copy` or `with_changes` make another one."""

    title: str = Field("", description="for people; decides nothing")
    beam: Beam = Beam()
    crystal: Crystal
    scan: Scan = Scan()
    detector: Detector = Detector()
    structure_factors: StructureFactors
    sampling: Sampling = Sampling()
    background: Background = Background()
    noise: Noise = Noise()

    @property
    def image_shape(self) -> tuple[int, int]:
        """(slow, fast) pixels of a frame."""
        return self.detector.spixels, self.detector.fpixels

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything that decides a pixel's value, the contents of the named files included.

        Where the files lie does not enter, nor does the title.

        Raises
        ------
        ExperimentError
            If a file that the experiment names cannot be read.
        """
        content = self.model_dump(mode="json", exclude={"title"})
        for field, path in self.named_files():
            *parents, name = field.split(".")
            place: Any = content
            for parent in parents:
                place = place[parent]
            place[name] = _file_digest(path, field)
        if not self.scan.phi_zero_carryover:
            del content["scan"]["phi_zero_carryover"]  # so that it changes no fingerprint of an experiment without it
        content["physics_version"] = PHYSICS_VERSION
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def named_files(self) -> Iterator[tuple[str, Path]]:
        """Yield (field, path) of every file that the experiment reads."""
        yield from _named_files(self, "")

    def with_changes(self, **sections: dict[str, Any]) -> Experiment:
        """Return a validated copy with fields of some sections replaced: `with_changes(sampling={"precision": "float64"})`.

        Raises
        ------
        ExperimentError
            If the result is not a valid experiment.
        """
        from nbdist.experiment.files import validate

        content = self.model_dump()
        for section, fields in sections.items():
            content[section] = {**content[section], **fields}
        return validate(content)


def _named_files(section: BaseModel, prefix: str) -> Iterator[tuple[str, Path]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _named_files(value, f"{prefix}{name}.")
        elif isinstance(value, Path):
            yield f"{prefix}{name}", value


def _file_digest(path: Path, field: str) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ExperimentError(f"{field}: {path} cannot be read: {error.strerror}") from None
