"""The experiment: everything that decides a pixel's value, in one frozen object with a fingerprint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from nbdist.errors import ExperimentError
from nbdist.experiment.background import Background
from nbdist.experiment.beam import SPECTRUM, Beam
from nbdist.experiment.crystal import LATTICE_FIELDS, Crystal
from nbdist.experiment.detector import Detector
from nbdist.experiment.fields import Section
from nbdist.experiment.labels import Labels
from nbdist.experiment.obstacles import Absorption, Shadows
from nbdist.experiment.readout import LARGEST_READING, Readout
from nbdist.experiment.sampling import Noise, Sampling
from nbdist.experiment.scan import Scan
from nbdist.experiment.structure_factors import FromFile, FromModel, StructureFactors
from nbdist.experiment.validation import validated
from nbdist.formats.text import file_stat

PHYSICS_VERSION = 2
"""Raised when the same experiment would give other pixel values, as by another default; it enters the fingerprint."""
INTEGRATED_VERSION = 1
"""The same where the method is integrated."""
SPECTRUM_VERSION = 1
"""The same where the beam has other wavelengths than its own."""
READOUT_VERSION = 2
"""Raised when the same experiment would give other counts; it enters the fingerprint where counts are made."""
MODEL_VERSION = 1
"""Raised when the same atomic model would give other amplitudes; it enters the fingerprint where there is one. gemmi's tables do not."""
NOT_OF_PHOTONS = ("title", "noise", "readout", "labels")
"""Sections that decide no photon."""
NOT_OF_AN_INSTRUMENT = ("title", "crystal", "crystals", "structure_factors", "labels", "scan")
"""Sections that make neither an instrument, nor its backgrounds or its read-out, but for the scan's spindle axis."""
EXPOSURE = ("fluence_photons_per_m2", "flux_photons_per_s", "exposure_s", "beam_size_mm")
"""Fields of the beam that decide how many photons there are, and nothing else but the width of some backgrounds."""


class Experiment(Section):
    """What is simulated. Frozen; `with_changes` or `model_copy` make another one, validated like the first."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["crystal"]}, {"required": ["crystals"]}]})

    title: str = Field("", description="for people; decides nothing")
    beam: Beam = Beam()
    crystal: Crystal | None = Field(None, description="the only crystal")
    crystals: tuple[Crystal, ...] | None = Field(
        None,
        min_length=1,
        description="instead: several, whose photons add up, each with its own orientation, size and weight",
    )
    scan: Scan = Scan()
    detector: Detector = Detector()
    structure_factors: StructureFactors | None = Field(None, description="of every crystal that has none of its own")
    sampling: Sampling = Sampling()
    background: Background = Background()
    absorption: Absorption = Absorption()
    shadows: Shadows = Shadows()
    noise: Noise = Noise()
    readout: Readout = Readout()
    labels: Labels = Labels()

    @model_validator(mode="after")
    def _every_crystal_has_amplitudes_and_a_lattice(self) -> Experiment:
        if (self.crystal is None) == (self.crystals is None):
            raise ValueError(
                "crystal or crystals is required" if self.crystal is None else "give crystal or crystals, not both"
            )
        for field, crystal in self.each_crystal.items():
            structure_factors = crystal.structure_factors or self.structure_factors
            if structure_factors is None:
                raise ValueError(f"structure_factors is required; {field} has none of its own")
            if not crystal.has_lattice and not isinstance(structure_factors, FromModel | FromFile):
                raise ValueError(
                    f"{field}: give exactly one of {', '.join(LATTICE_FIELDS)}; found none of them, and no structure_factors of kind "
                    "file or model, which may have a cell"
                )
        return self

    @model_validator(mode="after")
    def _time_for_dead_time(self) -> Experiment:
        if self.readout.dead_time_ns and self.beam.seconds_a_frame is None:
            raise ValueError(
                "readout.dead_time_ns: needs the time in which the photons come, found none; "
                "give beam.flux_photons_per_s and exposure_s instead of a fluence"
            )
        return self

    @model_validator(mode="after")
    def _integrated_where_it_has_a_closed_form(self) -> Experiment:
        if not self.sampling.integrated:
            return self
        why = "sampling.method integrated"
        if self.sampling.interpolate is True:
            raise ValueError(
                f"sampling.interpolate: {why} adds up reflections, each with an amplitude of its own; leave it at false or auto"
            )
        for field, crystal in self.each_crystal.items():
            if crystal.shape != "gauss":
                raise ValueError(
                    f"{field}.shape: {why} has a closed form for gauss alone, found {crystal.shape}; "
                    "give gauss, or sampling.method sum"
                )
            counted = crystal.counted_mosaic_field
            if counted:
                raise ValueError(
                    f"{field}.{counted}: is a sum over counted domains, which {why} does not take; give mosaicity.sigma_deg"
                )
        return self

    @property
    def each_crystal(self) -> dict[str, Crystal]:
        """The crystals by the names of their fields: "crystal", or "crystals.0", "crystals.1" ..."""
        if self.crystal is not None:
            return {"crystal": self.crystal}
        return {f"crystals.{number}": crystal for number, crystal in enumerate(self.crystals or ())}

    @property
    def writes_counts(self) -> bool:
        """Whether `counts` are written: photon noise, or any stage of the read-out."""
        return self.noise.photon_noise or self.readout != Readout()

    @property
    def only_crystal(self) -> Crystal:
        """The crystal of an experiment that has one."""
        (crystal,) = self.each_crystal.values()
        return crystal

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of everything that decides a pixel's value, the contents of the named files included.

        It is worked out from what the fields and files hold whenever it is asked for, and from the published numbers that stand for
        a detector's name, a sensor's material and a powder's preset. Where the files lie does not enter, nor do the title and fields
        that have their default.

        Raises
        ------
        ExperimentError
            If a file that the experiment names cannot be read.
        """
        content = {**self.content(file_digest), **self._versions}
        content.pop("title", None)
        published = {**self.detector.published(), **self.background.published()}
        if published:
            content["published"] = published
        if self.writes_counts:
            content["readout_version"] = READOUT_VERSION
        return content_digest(content)

    @property
    def photons_fingerprint(self) -> str:
        """Hex SHA-256 of everything that decides the expected photons, but the exposure, in proportion to which they are.

        It is that of experiments with the same `fingerprint` but for title, noise, read-out and labels, and is worked out without the
        files that these name.

        Raises
        ------
        ExperimentError
            If another file that the experiment names cannot be read.
        """

        def digest(field: str, path: Path) -> str:
            return "" if field.partition(".")[0] in NOT_OF_PHOTONS else file_digest(field, path)

        content = {name: fields for name, fields in self.content(digest).items() if name not in NOT_OF_PHOTONS}
        content["beam"] = {name: value for name, value in content.get("beam", {}).items() if name not in EXPOSURE}
        published = {name: value for name, value in self.detector.published().items() if name != "saturation"}
        return content_digest({**content, "published": published, **self._versions})

    @property
    def _versions(self) -> dict[str, int]:
        """What the fingerprints have of the recipes of photons."""
        given = [self.structure_factors, *(crystal.structure_factors for crystal in self.each_crystal.values())]
        models = any(isinstance(its, FromModel) for its in given)
        return {
            "physics_version": PHYSICS_VERSION,
            **({"integrated_version": INTEGRATED_VERSION} if self.sampling.integrated else {}),
            **({"model_version": MODEL_VERSION} if models else {}),
            **(
                {"spectrum_version": SPECTRUM_VERSION}
                if any(self.beam.content().get(name) for name in SPECTRUM)
                else {}
            ),
        }

    @property
    def saturation_adu(self) -> int:
        """Largest reading: the one of `readout`, else what is published of a detector by name, within what the integers can hold."""
        readout, named, given = self.readout, self.detector.named, self.readout.saturation_adu
        largest = LARGEST_READING[readout.integers]
        if given is None and named is not None and named.saturation is not None:
            given = named.saturation
            if named.saturates_in_photons:
                given = round(given * readout.adu_per_photon + readout.offset_adu)
        return largest if given is None else min(given, largest)

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
        content = self.model_dump()
        for section, fields in sections.items():
            kept = content.get(section)
            content[section] = {**kept, **fields} if isinstance(kept, dict) and isinstance(fields, dict) else fields
        return validated(type(self), content)


def content_digest(content: dict[str, Any]) -> str:
    """Hex SHA-256 of plain content."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_digest(field: str, path: Path) -> str:
    """Hex SHA-256 of what a file holds that a field names.

    Raises
    ------
    ExperimentError
        If it cannot be read.
    """
    try:
        file_stat(path)
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (
        OSError,
        ValueError,
    ) as error:  # a name with a NUL, or with characters that the locale's file names cannot have
        raise ExperimentError(f"{field}: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
