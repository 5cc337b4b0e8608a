"""The benchmark: what is timed, against what limit, and how.

`cases` are what is rendered, `limit` is what the machine's arithmetic would allow, `measure` times one case in a process of its own,
`integrated` times the integrated method in turn with the sum, `labels` its frames with labels and without, `readout` what a detector makes
of a frame, `loader` what reads for training, `dataset` samples of a recipe end to end, `series_steps` each step of a whole store, and
`benchmark` goes over all that were asked for. The cases of the sum are said in the flags of `nbdist.nanobragg`, so that another nanoBragg
can be timed with them, and `nbdist.cli.bench` prints what it finds.
"""

GROUPS = (
    "reference",
    "mosaic",
    "sources",
    "sharp",
    "shapes",
    "spots",
    "integrated",
    "labels",
    "readout",
    "loader",
    "dataset",
    "series",
    "start",
)
"""Groups of cases; `start` is no case, but the time to a new process's first pixels."""
