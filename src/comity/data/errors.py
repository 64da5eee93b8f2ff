"""What goes wrong with data.

DataError
└── MalformedTable   bytes that are not the table they claim to be, or that exceed a limit
"""

from __future__ import annotations

from comity.record.errors import ComityError


class DataError(ComityError):
    """The root of this package's errors."""

    code = "data"


class MalformedTable(DataError):
    """A table that cannot be read: names the row and column, never a value."""

    code = "malformed-table"
