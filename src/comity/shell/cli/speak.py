"""What several commands share: the connection, local files, dates, and asking a person."""

from __future__ import annotations

import datetime
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from comity.shell.credentials import load
from comity.shell.errors import BadUsage, Refused
from comity.shell.wire import Connection

STDIN_BYTES_MAX = 1 << 30
_NOT_IN_A_SLUG = re.compile(r"[^a-z0-9]+")


def connect(org: str | None) -> Connection:
    """A connection to the chosen organisation's node. Makes no request."""
    return Connection.of(load(org))


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """A local file for reading, or standard input for `-`. Raises `Refused` when it cannot be read."""
    if path == "-":
        yield io.BytesIO(sys.stdin.buffer.read(STDIN_BYTES_MAX))
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115  # Only a failure to open is ours to explain.
    except OSError as error:
        raise Refused(f"`{path}` cannot be read", why=(error.strerror or "").lower()) from None
    with file:
        yield file


def slug(path: str) -> str:
    """A record's name from a file's: `Breast Cancer.csv` becomes `breast-cancer`."""
    name = _NOT_IN_A_SLUG.sub("-", Path(path).stem.lower()).strip("-")[:32]
    if path == "-" or not name or not name[0].isalpha():
        raise BadUsage(
            "this file's name makes no dataset's name",
            why="lower-case letters, digits and hyphens, a letter first",
            hint="--name NAME",
        )
    return name


def last_moment(date: str) -> int:
    """The last second of a day given as YYYY-MM-DD, in UTC, as a unix time."""
    try:
        parsed = datetime.date.fromisoformat(date)
    except ValueError:
        raise BadUsage(f"`{date[:40]}` is not a date", hint="as in 2027-12-31") from None
    return int(datetime.datetime.combine(parsed, datetime.time(23, 59, 59), datetime.UTC).timestamp())
