"""WHAT is simulated: frozen models with units in their names, read from YAML or JSON.

An experiment is checked when it is made, and an error names the field. Its fingerprint is of the fields that differ from their defaults
and of the contents of the files they name. Numbers that follow from it are `nbdist.scene`'s; only `nbdist.formats` and errors are
imported.
"""

from nbdist.experiment.files import experiment_schema, experiment_to_yaml, load_experiment, validate
from nbdist.experiment.model import Experiment

__all__ = [
    "Experiment",
    "experiment_schema",
    "experiment_to_yaml",
    "load_experiment",
    "validate",
]
