"""Training on stores: PyTorch datasets over what `nbdist.store` reads; PyTorch is needed (`nbdist[torch]`)."""

from nbdist.errors import require_extra

require_extra("torch", "nbdist.learning")

from nbdist.learning.frames import FrameDataset  # noqa: E402

__all__ = ["FrameDataset"]
