"""The benchmark: what is timed, against what limit, and how."""
