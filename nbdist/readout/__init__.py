"""WHAT THE DETECTOR READS: the background, and exact Poisson counts, the same for the same seed, frame and pixel on any machine.

Arrays in, arrays out, in numpy; `nbdist.frames.products` says what a store keeps of them.
"""
