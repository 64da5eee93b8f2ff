"""A table's bytes as numbers: features in the file's order, and the column `label`. Runs inside the sandbox.

Which rows train and which are held out is fixed: every fifth row, from the fifth on, is never trained on.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from comity.learn.errors import StudyCodeFailed
from comity.learn.fixed import Floats

LABEL = "label"
HELD_OUT_EVERY = 5
_PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True)
class Table:
    """`x` is rows × columns and `y` rows, both float64; `columns` names the features."""

    columns: tuple[str, ...]
    x: Floats
    y: Floats

    def training(self) -> Table:
        keep = ~_held_out(len(self.y))
        return Table(self.columns, self.x[keep], self.y[keep])

    def held_out(self) -> Table:
        keep = _held_out(len(self.y))
        return Table(self.columns, self.x[keep], self.y[keep])


def read(data: bytes) -> Table:
    """Parse CSV or Parquet. Raises `StudyCodeFailed` where a cell is not a number, by row and column."""
    names, values = _parquet(data) if data.startswith(_PARQUET_MAGIC) else _csv(data)
    if LABEL not in names or len(names) < 2:
        raise StudyCodeFailed(f"a study reads tables with a column `{LABEL}` and at least one other")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise StudyCodeFailed(f"row {row + 1}, column {names[column]!r} is missing or not a finite number")
    at = names.index(LABEL)
    features = tuple(name for name in names if name != LABEL)
    return Table(features, np.ascontiguousarray(np.delete(values, at, axis=1)), np.ascontiguousarray(values[:, at]))


def join(tables: list[Table]) -> Table:
    """The rows of several tables with the same columns, in the order given."""
    if any(table.columns != tables[0].columns for table in tables):
        raise StudyCodeFailed("the study's tables have different columns")
    x, y = [table.x for table in tables], [table.y for table in tables]
    return Table(tables[0].columns, np.concatenate(x), np.concatenate(y))


def _held_out(rows: int) -> Any:
    return np.arange(rows) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1


def _csv(data: bytes) -> tuple[list[str], Floats]:
    rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")) if row]
    if len(rows) < 2 or any(len(row) != len(rows[0]) for row in rows):
        raise StudyCodeFailed("the table is empty or ragged")
    return rows[0], np.array([[_number(cell) for cell in row] for row in rows[1:]], dtype=np.float64)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _parquet(data: bytes) -> tuple[list[str], Floats]:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    table = pq.read_table(pa.BufferReader(data), use_threads=False)
    columns = [table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False) for name in table.column_names]
    return list(table.column_names), np.stack(columns, axis=1).astype(np.float64)
