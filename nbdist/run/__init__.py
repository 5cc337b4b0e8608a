"""WHO does the work: making a series with one process or many, resuming and verifying it."""
