"""WHO does the work: rendering one unit, the serial run, the Dask run, resume and verification."""
