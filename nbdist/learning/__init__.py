"""Training on stores: PyTorch datasets."""

from nbdist.learning.frames import FrameDataset

__all__ = ["FrameDataset"]
