"""Files of other programs, as arrays: nothing here knows what an experiment is."""
