"""What nbdist finds of the machine, of its installation and of a cluster: whether it can work here, for a person and for a bug report.

Each check is a function that returns findings and raises nothing that it foresees. None changes anything, submits a job or keeps a file;
none shows the value of a variable of the environment, and the home folder is written as `~`.
"""

from nbdist.doctor.checks import examine as examine
from nbdist.doctor.findings import Finding as Finding
