"""HOW a pixel gets its photons: a reference in torch, which is the specification, and the code in C++ that runs on CPUs.

A backend (`backend`, chosen in `choice`) holds an instrument of `nbdist.scene`, takes lattices, and gives un-normalised sums as numpy
arrays. No files of an experiment, no Dask, no Zarr; and no torch until a GPU or the reference itself is asked for.
"""
