"""FrameDataset for tests of which the others run without PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbdist.learning import FrameDataset


def frame_dataset(location: Any) -> FrameDataset:
    """A FrameDataset; where PyTorch is not installed, the error that skips a test."""
    from nbdist.learning import FrameDataset

    return FrameDataset(location)
