"""Run by DIALS' own Python: what it predicts of exported experiments, beside what their tables say, into a JSON file.

dials_check.py OUTPUT D_MIN FOLDER...
"""

import json
import sys
from pathlib import Path

from dials.array_family import flex
from dxtbx.model.experiment_list import ExperimentList


def rows(reflections):
    return [
        {
            "key": [*reflections["miller_index"][n], reflections["id"][n], bool(reflections["entering"][n])],
            "d": reflections["d"][n],
            "panel": reflections["panel"][n],
            "px": list(reflections["xyzcal.px"][n]),
            "mm": list(reflections["xyzcal.mm"][n]),
            "s1": list(reflections["s1"][n]),
            "zeta": reflections["zeta"][n],
            "lp": reflections["lp"][n],
        }
        for n in range(len(reflections))
    ]


def compared(folder, d_min):
    experiments = ExperimentList.from_file(f"{folder}/labels.expt", check_format=False)
    table = flex.reflection_table.from_file(f"{folder}/labels.refl")
    table.assert_experiment_identifiers_are_consistent(experiments)
    predicted = flex.reflection_table()
    for number, experiment in enumerate(experiments):
        its = flex.reflection_table.from_predictions(experiment, dmin=d_min)
        its["id"] = flex.int(len(its), number)
        its.compute_zeta(experiment)
        predicted.extend(its)
    predicted.compute_d(experiments)
    predicted.compute_corrections(experiments)
    scans = [experiment.scan.get_array_range() for experiment in experiments]
    return {"predicted": rows(predicted), "written": rows(table), "images": scans}


output, d_min, *folders = sys.argv[1:]
Path(output).write_text(json.dumps([compared(folder, float(d_min)) for folder in folders]))
