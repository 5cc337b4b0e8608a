"""The experiment: everything that decides a pixel's value, in one frozen object with a fingerprint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field

from nbdist.errors import ExperimentError
from nbdist.experiment.beam import Beam
from nbdist.experiment.crystal import Crystal
from nbdist.experiment.detector import Detector
from nbdist.experiment.fields import Section
from nbdist.experiment.sampling import Background, Noise, Sampling
from nbdist.experiment.scan import Scan
from nbdist.experiment.structure_factors import StructureFactors

PHYSICS_VERSION = 2
"""Raised when the same experiment would give other pixel values, as by another default; it enters the fingerprint."""


class Experiment(Section):
    """What is simulated. Frozen; `with_changes` or `model_copy` make another one, validated like the first."""

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

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything that decides a pixel's value, the contents of the named files included.

        It is worked out from what the fields and files hold whenever it is asked for. Where the files lie does not enter, nor do the
        title and fields that have their default.

        Raises
        ------
        ExperimentError
            If a file that the experiment names cannot be read.
        """
        content = {**self.content(_file_digest), "physics_version": PHYSICS_VERSION}
        content.pop("title", None)
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def named_files(self) -> dict[str, Path]:
        """Paths of the files that the experiment reads, by the field that names each."""
        found: dict[str, Path] = {}
        self.content(lambda field, path: str(found.setdefault(field, path)))
        return found

    def with_changes(self, **sections: Any) -> Experiment:
        """Return a validated copy with fields of some sections replaced: `with_changes(sampling={"precision": "float64"})`.

        What is no dictionary stands for all of its section, as the text of a title does.

        Raises
        ------
        ExperimentError
            If the result is not a valid experiment.
        """
        from nbdist.experiment.files import validate

        content = self.model_dump()
        for section, fields in sections.items():
            kept = content.get(section)
            content[section] = {**kept, **fields} if isinstance(kept, dict) and isinstance(fields, dict) else fields
        return validate(content)


def _file_digest(field: str, path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (
        OSError,
        ValueError,
    ) as error:  # a name with a NUL, or with characters that the locale's file names cannot have
        raise ExperimentError(f"{field}: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
