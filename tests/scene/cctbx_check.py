"""Run by DIALS' Python: what cctbx knows of reflections in some space groups, and makes of files of them, into a JSON file.

cctbx_check.py QUESTIONS OUTPUT
"""

import json
import sys
from pathlib import Path

from cctbx import miller, sgtbx
from iotbx import mtz

questions = json.loads(Path(sys.argv[1]).read_text())
found = {}
for name in questions["groups"]:
    group = sgtbx.space_group_info(name).group()
    found[name] = [
        {
            "absent": group.is_sys_absent(hkl),
            "centric": group.is_centric(hkl),
            "epsilon": group.epsilon(hkl) * group.n_ltr(),  # cctbx's own leaves centring translations out
            "equivalents": sorted({its.h() for its in miller.sym_equiv_indices(group, hkl).indices()}),
        }
        for hkl in map(tuple, questions["indices"])
    ]
whole = {}
for path in questions["files"]:
    (pairs,) = mtz.object(path).as_miller_arrays()
    expanded = pairs.expand_to_p1()
    whole[path] = [[*hkl, F] for hkl, F in zip(expanded.indices(), expanded.data(), strict=True)]
Path(sys.argv[2]).write_text(json.dumps({"groups": found, "files": whole}))
