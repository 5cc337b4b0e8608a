"""WHAT THE DETECTOR READS: backgrounds, exact Poisson counts and the response, the same numbers for a seed, frame and pixel on any machine.

But for light of other than whole photons that is transformed (see `point_spread`): there, libraries may differ by 2^-32 of a photon.

Arrays in, arrays out: numpy specifies, C++ repeats it where there is a compiler; `chain` has the stages in their order, and
`nbdist.frames.products` says what a store keeps of them.
"""
