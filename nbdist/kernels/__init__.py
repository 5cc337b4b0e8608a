"""HOW a pixel gets its photons: a reference in torch, which is the specification, and the code in C++ that runs on CPUs.

No files of an experiment, no Dask, no Zarr.
"""
