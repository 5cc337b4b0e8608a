"""Batches of items: tensors beside one another, and tables of any number of rows padded to the longest or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

Allocate = Callable[[Sequence[int], Tensor], Tensor | None]
"""Gives a tensor of a shape, of the type of another, to be filled; or None."""


def _nowhere(shape: Sequence[int], like: Tensor) -> Tensor | None:
    return None


class Stacked:
    """A collate function: the tensors of items beside one another, as PyTorch's own does it, in memory that is given."""

    def __call__(self, items: Sequence[dict[str, Tensor]], allocate: Allocate = _nowhere) -> dict[str, Any]:
        """The batch of some items, in memory that is given where there is some."""
        batch = {}
        for name, first in items[0].items():
            its = [item[name] for item in items]
            shape = (len(its), *first.shape) if isinstance(first, Tensor) else ()
            room = allocate(shape, first) if shape and all(tensor.shape == first.shape for tensor in its) else None
            batch[name] = default_collate(its) if room is None else torch.stack(its, out=room)
        return batch


class _Tables(Stacked):
    """Tables of these names are joined in a way of their own, all else is stacked."""

    def __init__(self, *tables: str) -> None:
        self.tables = tables

    def __call__(self, items: Sequence[dict[str, Tensor]], allocate: Allocate = _nowhere) -> dict[str, Any]:
        rest = [{name: tensor for name, tensor in item.items() if name not in self.tables} for item in items]
        batch = super().__call__(rest, allocate)
        for name in self.tables:
            batch[f"{name}_rows"] = torch.tensor([len(item[name]) for item in items])
            batch[name] = self.joined([item[name] for item in items])
        return batch

    def joined(self, tables: Sequence[Tensor]) -> Tensor:
        """The tables after one another."""
        return torch.cat(list(tables))


class Ragged(_Tables):
    """A collate function: tables follow one another, (row, column).

    `spots_rows`, int64 (item,), tells how many rows each item has, in their order.

    Parameters
    ----------
    tables
        Names of the tables; all else is collated as PyTorch does it.
    """


class Padded(_Tables):
    """A collate function: tables are padded to the longest, (item, row, column), with NaN, or 0 in a table of whole numbers.

    `spots_rows`, int64 (item,), tells how many rows are true.

    Parameters
    ----------
    tables
        Names of the tables; all else is collated as PyTorch does it.
    """

    def joined(self, tables: Sequence[Tensor]) -> Tensor:
        """The tables beside one another."""
        first, rows = tables[0], max(len(table) for table in tables)
        fill = float("nan") if first.dtype.is_floating_point else 0
        batch = first.new_full((len(tables), rows, first.shape[1]), fill)
        for place, table in enumerate(tables):
            batch[place, : len(table)] = table
        return batch
