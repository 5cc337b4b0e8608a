"""Training on stores: PyTorch datasets over what `nbdist.store` reads; PyTorch is needed (`nbdist[torch]`).

Datasets are map-style, one item a frame, sample, wedge or crop; `StreamDataset` goes through any of them shard by shard.
"""

from nbdist.errors import require_extra

require_extra("torch", "nbdist.learning")

from nbdist.learning.collating import Padded, Ragged  # noqa: E402
from nbdist.learning.crops import CropDataset  # noqa: E402
from nbdist.learning.frames import FrameDataset  # noqa: E402
from nbdist.learning.live import LiveDataset  # noqa: E402
from nbdist.learning.streams import ResumableLoader, StreamDataset  # noqa: E402
from nbdist.learning.wedges import SampleDataset, WedgeDataset  # noqa: E402

__all__ = [
    "CropDataset",
    "FrameDataset",
    "LiveDataset",
    "Padded",
    "Ragged",
    "ResumableLoader",
    "SampleDataset",
    "StreamDataset",
    "WedgeDataset",
]
