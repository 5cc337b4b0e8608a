"""WHAT is simulated: frozen models with units in their names, read from YAML or JSON, resolved to numbers."""

from nbdist.experiment.files import experiment_schema, experiment_to_yaml, load_experiment, validate
from nbdist.experiment.model import Experiment
from nbdist.experiment.resolved import ResolvedExperiment, resolve

__all__ = [
    "Experiment",
    "ResolvedExperiment",
    "experiment_schema",
    "experiment_to_yaml",
    "load_experiment",
    "resolve",
    "validate",
]
