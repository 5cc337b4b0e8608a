"""WHAT is simulated: frozen models with units in their names, read from YAML or JSON."""

from nbdist.experiment.files import experiment_schema, experiment_to_yaml, load_experiment, validate
from nbdist.experiment.model import Experiment

__all__ = [
    "Experiment",
    "experiment_schema",
    "experiment_to_yaml",
    "load_experiment",
    "validate",
]
