"""What nbdist finds of the machine, of its installation and of a cluster: whether it can work here, for a person and for a bug report.

Each check is a function that returns findings and raises nothing that it foresees. None changes anything, submits a job or keeps a file;
of the environment they show names of variables, and folders that these lead to; no password, and the home folder as `~`.
"""

from nbdist.doctor.checks import examine as examine
from nbdist.doctor.findings import Finding as Finding
