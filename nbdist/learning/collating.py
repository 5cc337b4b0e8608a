"""Batches of items whose tables have any number of rows: padded to the longest, or one after the other."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate


class _Collate(abc.ABC):
    """Tables of these names are collated by a function, all else by PyTorch's own."""

    def __init__(self, *tables: str) -> None:
        self.tables = tables

    def __call__(self, items: Sequence[dict[str, Tensor]]) -> dict[str, Any]:
        batch = default_collate(
            [{name: its for name, its in item.items() if name not in self.tables} for item in items]
        )
        for name in self.tables:
            batch[f"{name}_rows"] = torch.tensor([len(item[name]) for item in items])
            batch[name] = self.joined([item[name] for item in items])
        return batch

    @abc.abstractmethod
    def joined(self, tables: Sequence[Tensor]) -> Tensor:
        """The tables of all items as one tensor."""


class Padded(_Collate):
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


class Ragged(_Collate):
    """A collate function: tables follow one another, (row, column).

    `spots_rows`, int64 (item,), tells how many rows each item has, in their order.

    Parameters
    ----------
    tables
        Names of the tables; all else is collated as PyTorch does it.
    """

    def joined(self, tables: Sequence[Tensor]) -> Tensor:
        """The tables after one another."""
        return torch.cat(list(tables))
