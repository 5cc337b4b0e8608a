"""A small U-Net that finds spots: for each pixel whether a spot's centre is near, and how far it is from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from spot_truth import FAINTEST, Array, Truth
from torch import Tensor, nn
from torch.nn import functional

WEAKEST = 2.0
"""Signal over noise from which spots are taught; weaker ones are neither spots nor background to the network."""
AROUND = 7
"""Pixels to each side of one in which its surroundings are measured."""
REACH = 1.5
"""Pixels about a centre in which the way to it is taught."""
WIDTH = 0.8
"""Of the Gaussian about a centre that the network is to draw, pixels rms."""
CROP, BATCH = 128, 8
"""Pixels along a side of what is trained on at a time, and how many of these."""
SAME_SPOT = 1.5
"""Pixels within which two places that the network gives are one."""
RATE = 4e-3
"""Largest rate of learning."""


@dataclass(frozen=True)
class Image:
    """An image to find spots in.

    Attributes
    ----------
    photons
        What was read, in photons, float32 (slow, fast).
    usable
        Whether a pixel is neither masked nor bad (slow, fast).
    truth
        Its spots.
    """

    photons: NDArray[np.float32]
    usable: NDArray[np.bool_]
    truth: Truth


def _local_mean(image: Tensor, usable: Tensor) -> Tensor:
    """Mean of the usable pixels around each (n, 1, slow, fast)."""
    size = 2 * AROUND + 1

    def mean(values: Tensor) -> Tensor:
        along = functional.avg_pool2d(values, (size, 1), stride=1, padding=(AROUND, 0), count_include_pad=False)
        return functional.avg_pool2d(along, (1, size), stride=1, padding=(0, AROUND), count_include_pad=False)

    return mean(image * usable) / mean(usable).clamp_min(1e-3)


def features(photons: Tensor, usable: Tensor) -> Tensor:
    """What the network sees of images (n, slow, fast): (n, 4, slow, fast).

    The square root of the photons, whose noise is the same whatever their number (F. J. Anscombe, Biometrika 35 (1948) 246), less its
    mean around the pixel; the deviation around it; the level; and whether the pixel is usable.
    """
    seen = usable[:, None].float()
    root = 2 * torch.sqrt((photons[:, None] + 0.375).clamp_min(0)) * seen
    level = _local_mean(root, seen)
    excess = (root - level) * seen
    deviation = _local_mean(excess.clamp(-4, 4) ** 2, seen).sqrt()
    return torch.cat([torch.asinh(excess), deviation, torch.log1p(level), seen], dim=1)


def _block(given: int, made: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (given, made):
        layers += [nn.Conv2d(channels, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class SpotNet(nn.Module):
    """A U-Net of three levels. Gives (n, 3, slow, fast): the logit of a centre, and the way to it along slow and fast, pixels."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.first, self.second, self.third = _block(4, width), _block(width, 2 * width), _block(2 * width, 4 * width)
        self.up_second, self.up_first = _block(6 * width, 2 * width), _block(3 * width, width)
        self.last = nn.Conv2d(width, 3, 1)
        nn.init.constant_(self.last.bias[:1], -4.0)  # spots are few

    def forward(self, seen: Tensor) -> Tensor:
        """Take what `features` gives; rows and columns in fours."""
        first = self.first(seen)
        second = self.second(functional.max_pool2d(first, 2))
        third = self.third(functional.max_pool2d(second, 2))
        second = self.up_second(torch.cat([second, functional.interpolate(third, scale_factor=2.0)], dim=1))
        return self.last(self.up_first(torch.cat([first, functional.interpolate(second, scale_factor=2.0)], dim=1)))


@dataclass(frozen=True)
class Target:
    """What the network is to give for an image: (slow, fast) the Gaussians, (2, slow, fast) the way, and what to leave out of the sum."""

    centre: Tensor
    way: Tensor
    weight: Tensor

    @classmethod
    def of(cls, image: Image) -> Target:
        """Draw the spots of an image."""
        rows, columns = image.photons.shape
        centre = np.zeros((rows, columns), dtype=np.float32)
        way = np.zeros((2, rows, columns), dtype=np.float32)
        weight = np.ones((rows, columns), dtype=np.float32)
        truth, nearest = image.truth, np.full((rows, columns), np.inf)
        there = truth.signal_over_noise > FAINTEST
        taught = there & truth.usable & (truth.signal_over_noise > WEAKEST)
        for place, is_taught in zip(truth.places[there], taught[there], strict=True):
            low, high = np.floor(place - 3).astype(int), np.floor(place + 3).astype(int) + 1
            (r0, c0), (r1, c1) = np.maximum(low, 0), np.minimum(high, (rows, columns))
            if r0 >= r1 or c0 >= c1:
                continue
            its = slice(r0, r1), slice(c0, c1)
            slow = place[0] - (np.arange(r0, r1) + 0.5)[:, None] + np.zeros((1, c1 - c0))
            fast = place[1] - (np.arange(c0, c1) + 0.5)[None, :] + np.zeros((r1 - r0, 1))
            distance = np.hypot(slow, fast)
            if not is_taught:
                weight[its][distance < REACH] = 0
                continue
            centre[its] = np.maximum(centre[its], np.exp(-0.5 * (distance / WIDTH) ** 2))
            nearer = distance < np.minimum(nearest[its], REACH)
            way[0][its][nearer], way[1][its][nearer] = slow[nearer], fast[nearer]
            nearest[its][nearer] = distance[nearer]
        weight[nearest < REACH] = 1
        return cls(torch.from_numpy(centre), torch.from_numpy(way), torch.from_numpy(weight))


def loss(given: Tensor, centre: Tensor, way: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy with the Gaussians, in which what is easy weighs little, and the error of the way near the centres."""
    logit = given[:, 0]
    difference = (torch.sigmoid(logit) - centre).abs()
    entropy = functional.binary_cross_entropy_with_logits(logit, centre, reduction="none")
    near = (centre > np.exp(-0.5 * (REACH / WIDTH) ** 2)).float()
    error = functional.smooth_l1_loss(given[:, 1:], way, reduction="none", beta=0.3).sum(dim=1)
    spots = centre.sum() / (2 * np.pi * WIDTH**2) + 1
    return (weight * difference**2 * entropy).sum() / spots + 0.3 * (near * error).sum() / spots


def crops(images: Sequence[Image], targets: Sequence[Target], steps: int, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Random crops, turned and mirrored: photons, usable, and what the network is to give, `BATCH` at a time."""
    random = np.random.default_rng(seed)
    for _ in range(steps):
        batch = []
        for number in random.integers(len(images), size=BATCH):
            image, target = images[number], targets[number]
            size = min(CROP, *image.photons.shape)
            r, c = (int(random.integers(side - size + 1)) for side in image.photons.shape)
            its = slice(r, r + size), slice(c, c + size)
            planes = torch.stack(
                [
                    torch.from_numpy(image.photons[its]),
                    torch.from_numpy(image.usable[its].astype(np.float32)),
                    target.centre[its],
                    target.weight[its],
                    *target.way[:, *its],
                ]
            )
            if random.integers(2):  # rows and columns change places, and so do the ways along them
                planes = planes.transpose(1, 2)[[0, 1, 2, 3, 5, 4]]
            for dimension, way in ((1, 4), (2, 5)):
                if random.integers(2):
                    planes = planes.flip(dimension)
                    planes[way] = -planes[way]
            batch.append(planes)
        planes = torch.stack(batch)
        yield planes[:, 0], planes[:, 1], planes[:, 2], planes[:, 4:], planes[:, 3]


def train(
    images: Sequence[Image],
    *,
    steps: int,
    seed: int = 0,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> SpotNet:
    """Train a network on images for so many steps; `report` is called with the step and the mean loss since the last time."""
    torch.manual_seed(seed)
    network = SpotNet().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.15)
    targets = [Target.of(image) for image in images]
    losses: list[float] = []
    network.train()
    for step, (photons, usable, centre, way, weight) in enumerate(crops(images, targets, steps, seed), 1):
        seen = features(photons, usable).contiguous(memory_format=torch.channels_last)
        lost = loss(network(seen), centre, way, weight)
        optimiser.zero_grad()
        lost.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(lost.item())
        if step % 50 == 0 or step == steps:
            report(step, float(np.mean(losses)))
            losses.clear()
    return network.eval()


@torch.inference_mode()
def places(network: SpotNet, image: Image, least: float = 0.05) -> tuple[Array, Array]:
    """Where the network sees spots: places (m, 2) along slow and fast, and how sure it is (m,), from `least` to 1, the surest first."""
    rows, columns = image.photons.shape
    pad = (0, -columns % 4, 0, -rows % 4)
    photons = functional.pad(torch.from_numpy(image.photons), pad)[None]
    usable = functional.pad(torch.from_numpy(image.usable), pad)[None]
    given = network(features(photons, usable).contiguous(memory_format=torch.channels_last))[0]
    sure = torch.sigmoid(given[0])
    peak = (sure == functional.max_pool2d(sure[None], 3, stride=1, padding=1)[0]) & (sure >= least)
    slow, fast = (pixel.numpy() for pixel in torch.nonzero(peak, as_tuple=True))
    at = np.stack([slow, fast], axis=1) + 0.5 + given[1:, slow, fast].double().numpy().T
    order = np.argsort(-sure[slow, fast].numpy(), kind="stable")
    at, certainty = at[order], sure[slow, fast].double().numpy()[order]
    kept: list[int] = []
    for number in range(len(at)):
        if not kept or np.linalg.norm(at[kept] - at[number], axis=1).min() >= SAME_SPOT:
            kept.append(number)
    return at[kept], certainty[kept]
