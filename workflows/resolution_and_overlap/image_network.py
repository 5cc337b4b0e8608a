"""A small network that looks at a whole image, and says how far its spots go and how many lattices make them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 24, 32, 48)
"""Channels after each halving of the image."""
MOST_LATTICES = 3
SURROUNDINGS = 15
"""Pixels along the side of the square whose photons a pixel is compared with."""
RATE = 3e-3


class Numbers(NamedTuple):
    """What is known or told of some images.

    Attributes
    ----------
    limit
        Of the spots that are seen: 1/d, 1/Angstrom (images,); NaN where none is.
    lattices
        How many there are, from 1 (images,).
    """

    limit: NDArray[np.float64]
    lattices: NDArray[np.int64]


def features(counts: Tensor, spacing_A: Tensor) -> Tensor:
    """Return what the network sees of images.

    Parameters
    ----------
    counts
        What was read (images, slow, fast), photons.
    spacing_A
        What scatters to each pixel (images, slow, fast).

    Returns
    -------
    float32 (images, 3, slow, fast): how far a pixel is above its surroundings, in deviations of counting them, on a scale that is
    logarithmic far from 0; its surroundings; and 1/d.
    """
    photons = counts[:, None].float()
    roots = functional.avg_pool2d(photons.sqrt(), SURROUNDINGS, 1, SURROUNDINGS // 2, count_include_pad=False)
    around = roots.square()  # of roots a spot raises the mean little
    above = (photons - around) / (around + 1).sqrt()
    return torch.cat([above.asinh(), around.log1p() / 3, 3 / spacing_A[:, None].float()], dim=1)


class _Halving(nn.Module):
    """A residual block that halves an image."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.beside = nn.Conv2d(given, made, 1, stride=2, bias=False)
        self.through = nn.Sequential(
            nn.Conv2d(given, made, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(made),
            nn.ReLU(),
            nn.Conv2d(made, made, 3, padding=1, bias=False),
            nn.BatchNorm2d(made),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Go through it."""
        return functional.relu(self.beside(image) + self.through(image))


class ImageNet(nn.Module):
    """Features of images (images, 3, slow, fast) to (images, 1 + MOST_LATTICES): the limit, and a logit for each number of lattices."""

    def __init__(self) -> None:
        super().__init__()
        first, *_, last = WIDTHS
        self.body = nn.Sequential(
            nn.Conv2d(3, first, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            *(_Halving(given, made) for given, made in pairwise(WIDTHS)),
        )
        self.head = nn.Sequential(nn.Linear(2 * last, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1 + MOST_LATTICES))
        self.register_buffer(
            "scale", torch.tensor([0.25, 0.05])
        )  # mean and deviation of the limits that it learns from

    def forward(self, seen: Tensor) -> Tensor:
        """Go through all of it."""
        found = self.body(seen)
        return self.head(torch.cat([found.mean((2, 3)), found.amax((2, 3))], dim=1))

    def told(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """The limit, 1/Angstrom, and the number of lattices, of what `forward` gives (each (images,))."""
        mean, deviation = self.scale
        return mean + deviation * given[:, 0], 1 + given[:, 1:].argmax(dim=1)


def turned(seen: Tensor, random: np.random.Generator) -> Tensor:
    """Images as they are in a mirror, or turned by right angles: their numbers stay."""
    ways = random.random(3) < 0.5
    seen = seen.transpose(2, 3) if ways[0] else seen
    return seen.flip([axis for axis, flipped in zip((2, 3), ways[1:], strict=True) if flipped])


def train(
    batches: Callable[[], Iterable[dict[str, Any]]],
    known: Numbers,
    *,
    epochs: int,
    steps: int,
    seed: int = 0,
    report: Callable[[int, float, float], None] = lambda epoch, limit, lattices: None,
) -> ImageNet:
    """Train a network.

    Parameters
    ----------
    batches
        Goes through an epoch: `counts` and `resolution` (images, slow, fast), and `values`, d_min_A and lattices (images, 2).
    known
        Of all images that it is trained on.
    steps
        Batches of an epoch.
    report
        Called after each epoch with its number and both mean losses.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = ImageNet().to(memory_format=torch.channels_last)
    network.scale.copy_(torch.tensor([np.nanmean(known.limit), np.nanstd(known.limit)]))
    mean, deviation = network.scale
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * steps)
    network.train()
    for epoch in range(1, epochs + 1):
        losses = []
        for batch in batches():
            seen = turned(features(batch["counts"], batch["resolution"]), random)
            given = network(seen.contiguous(memory_format=torch.channels_last))
            spacing_A, lattices = batch["values"].T
            has_limit = ~spacing_A.isnan()
            wanted = (1 / spacing_A[has_limit].float() - mean) / deviation
            limit = functional.smooth_l1_loss(given[has_limit, 0], wanted)
            number = functional.cross_entropy(given[:, 1:], lattices.long() - 1)
            optimiser.zero_grad()
            (limit + number).backward()
            optimiser.step()
            schedule.step()
            losses.append([limit.item(), number.item()])
        report(epoch, *np.mean(losses, axis=0))
    return network.eval()


@torch.inference_mode()
def told_of(network: ImageNet, batches: Iterable[dict[str, Any]]) -> Numbers:
    """What a network says of images that come in batches."""
    each = [network.told(network(features(batch["counts"], batch["resolution"]))) for batch in batches]
    limit, lattices = (torch.cat(its).numpy() for its in zip(*each, strict=True))
    return Numbers(limit.astype(np.float64), lattices)
