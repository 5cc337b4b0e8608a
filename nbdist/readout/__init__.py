"""WHAT THE DETECTOR READS of the photons that arrive: exact Poisson counts, the same for the same seed, frame and pixel on any machine.

Arrays in, arrays out, in numpy; `nbdist.frames.products` says what a store keeps of them.
"""
