"""Where workers come from: this machine's cores and GPUs, batch queues, running clusters, and the certificates they ask for."""
