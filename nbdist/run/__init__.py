"""WHO does the work: making a series with one process or many, resuming and verifying it.

The way of a series is `generate`, `opening`, `loop` and an executor of `executors`; `ledger` alone knows retries, units set aside and
workers left out. A worker's error is that worker's until the client meets it, too. Workers come from `nbdist.clusters`, frames from
`nbdist.frames`, and go to `nbdist.store`; only the command line, the nanoBragg front end and the benchmark stand above.
"""
