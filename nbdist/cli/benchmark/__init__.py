"""What `nbdist bench` measures: its cases, the limit of the machine, and the measurement itself."""
