"""What may be known of a table: how many rows, which columns, of which type, how many values are missing. Never a value.

CSV (RFC 4180, UTF-8, a header line) and Parquet, told apart by their first bytes. Everything is checked before it is kept.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from comity.data.errors import DataError, MalformedTable

TABLE_BYTES_MAX = 1 << 30
ROWS_MAX = 50_000_000
COLUMNS_MAX = 512
CELL_CHARACTERS_MAX = 64 * 1024
NAME_CHARACTERS_MAX = 255
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL"})
_PARQUET_MAGIC = b"PAR1"
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\Z")
_BOOLEAN = frozenset({"true", "false", "True", "False", "TRUE", "FALSE"})
_UNSEEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]")


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    """`boolean`, `integer`, `number`, `text`, or the name that Parquet gives a type of another family."""
    missing: int


@dataclass(frozen=True, slots=True)
class Profile:
    rows: int
    columns: tuple[Column, ...]


@dataclass(slots=True)
class _Tally:
    """The narrowest type that holds all values of a CSV column so far."""

    missing: int = 0
    possible: list[str] = field(default_factory=lambda: ["boolean", "integer", "number"])

    def add(self, cell: str) -> None:
        if cell in MISSING:
            self.missing += 1
        elif self.possible:
            self.possible = [kind for kind in self.possible if _is(kind, cell)]

    def type(self, rows: int) -> str:
        return self.possible[0] if self.possible and self.missing < rows else "text"


def profile(table: bytes) -> Profile:
    """The profile of a CSV or Parquet file. Raises `MalformedTable`, which names the row and column but shows no value."""
    if not table:
        raise MalformedTable("the table is empty", why="0 bytes")
    if len(table) > TABLE_BYTES_MAX:
        raise MalformedTable("the table is too large", why=f"{len(table)} bytes, at most {TABLE_BYTES_MAX}")
    return _parquet(table) if table.startswith(_PARQUET_MAGIC) else _csv(table)


def _csv(table: bytes) -> Profile:
    lines = _cells(table)
    header = next(lines, None)
    if not header:
        raise MalformedTable("the table has no header line", why="the first line names the columns")
    names = _names(header)
    tallies = [_Tally() for _ in names]
    rows = 0
    for cells in lines:
        rows += 1
        if rows > ROWS_MAX:
            raise MalformedTable("the table has too many rows", why=f"at most {ROWS_MAX}")
        if len(cells) != len(names):
            raise MalformedTable(f"row {rows} has {len(cells)} cells", why=f"the header has {len(names)}")
        for name, tally, cell in zip(names, tallies, cells, strict=True):
            if len(cell) > CELL_CHARACTERS_MAX:
                raise MalformedTable(
                    f"row {rows}, column {name!r}: the cell is too long", why=f"at most {CELL_CHARACTERS_MAX}"
                )
            tally.add(cell)
    if not rows:
        raise MalformedTable("the table has no rows", why="there is nothing below the header line")
    columns = zip(names, tallies, strict=True)
    return Profile(rows, tuple(Column(name, tally.type(rows), tally.missing) for name, tally in columns))


def _cells(table: bytes) -> Iterator[list[str]]:
    if b"\x00" in table:
        raise MalformedTable(
            "not a table", why=f"byte {table.index(0)} is zero; CSV is text, and Parquet begins with PAR1"
        )
    try:
        text = table.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = table.count(b"\n", 0, error.start)
        raise MalformedTable(f"row {row} is not UTF-8", why=f"at byte {error.start} of the file") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:  # a blank line is none; a lone empty cell would have been quoted
                yield cells
    except csv.Error as error:
        raise MalformedTable(f"line {reader.line_num} is not CSV", why=str(error)) from None


def _names(names: Sequence[str]) -> tuple[str, ...]:
    if len(names) > COLUMNS_MAX:
        raise MalformedTable("the table has too many columns", why=f"{len(names)}, at most {COLUMNS_MAX}")
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        if not name.strip() or len(name) > NAME_CHARACTERS_MAX or _UNSEEN.search(name):
            raise MalformedTable(f"column {number} has no good name", why="visible text of 1 to 255 characters")
        if name in seen:
            raise MalformedTable(f"column {number} repeats the name {name!r}", why="each column has a name of its own")
        seen.add(name)
    return tuple(names)


def _is(kind: str, cell: str) -> bool:
    if kind == "boolean":
        return cell in _BOOLEAN
    return bool((_INTEGER if kind == "integer" else _NUMBER).match(cell))


def _parquet(table: bytes) -> Profile:
    """Column by column and group by group, so that one group of one column is in memory at a time."""
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError:
        raise DataError(
            "this node cannot read Parquet", why="pyarrow is not installed", hint="pip install 'comity[ai]'"
        ) from None
    try:
        file = pq.ParquetFile(pa.BufferReader(table))
        names = _names(file.schema_arrow.names)
        rows = file.metadata.num_rows
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        if not rows or rows > ROWS_MAX:
            raise MalformedTable(
                "the table has no rows" if not rows else "the table has too many rows", why=f"{rows} rows"
            )
        if size > 4 * TABLE_BYTES_MAX:
            raise MalformedTable("the table unpacks to too much", why=f"{size} bytes, at most {4 * TABLE_BYTES_MAX}")
        missing = [sum(_nulls(file, i, name) for i in range(file.metadata.num_row_groups)) for name in names]
        types = [_parquet_type(field.type) for field in file.schema_arrow]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise MalformedTable("not a Parquet file", why=str(error).partition("\n")[0][:200]) from None
    return Profile(rows, tuple(Column(*column) for column in zip(names, types, missing, strict=True)))


def _nulls(file: object, group: int, name: str) -> int:
    read = file.read_row_group(group, columns=[name], use_threads=False)  # type: ignore[attr-defined]
    return int(read.column(0).null_count)


def _parquet_type(kind: object) -> str:
    import pyarrow.types as types  # type: ignore[import-untyped]

    if types.is_boolean(kind):
        return "boolean"
    if types.is_integer(kind):
        return "integer"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind):
        return "text"
    return str(kind)[:NAME_CHARACTERS_MAX]
