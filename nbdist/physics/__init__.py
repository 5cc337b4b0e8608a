"""HOW a pixel gets its photons: pure torch functions, tensors in, tensors out; no files, no Dask, no Zarr."""
