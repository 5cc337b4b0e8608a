"""The physics as pure torch functions, tensors in, tensors out: the specification of every other kernel, and what GPUs run."""
