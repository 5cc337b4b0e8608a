"""Files of other programs, as arrays, and pictures of arrays: nothing here knows what an experiment is.

What is malformed is an error with the file's name and, where there is one, the line. Only errors are imported.
"""
