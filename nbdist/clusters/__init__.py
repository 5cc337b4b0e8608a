"""Where workers come from: this machine's cores and GPUs, batch queues, running clusters, and the certificates they ask for.

What starts here listens on the loopback interface or asks for a certificate, or both: other users of a machine are strangers. It knows of
GPUs from `nbdist.kernels.devices`, and nothing of experiments; `nbdist.run` hands work to the workers.
"""
