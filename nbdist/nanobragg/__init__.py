"""The nanoBragg front end: its flags become an experiment, and what it prints and writes is made of the image.

`words` reads a command line by the spellings of `table`, `flags` makes an experiment of it by nanoBragg's rules (`sweeps`, `inputs`), and
errors are named after flags (`fields`). `report` and `outputs` are what is printed and written, and `command` goes from words to files,
with the renderer of `nbdist.run`. `nbdist.cli.nanobragg` prints.
"""
