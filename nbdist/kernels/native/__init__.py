"""The physics functions for CPUs in C++: compiled once for the machine, kept in a cache, and called without copies.

A custom operation is the last resort: torch.compile's code reached 0.4 of what the machine's arithmetic allows and took seconds to
load. The pure torch functions of `nbdist.kernels` remain the specification, and tests compare the two in every variant.
"""
