"""WHAT THE DETECTOR READS of the photons that arrive."""
