"""One frame from its pieces: partial intensities become photons, and one pixel's chain of factors is taken apart."""
