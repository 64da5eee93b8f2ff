"""Where things go: data on stdout, talk on stderr, JSON instead of both when asked. The only module of the shell that prints."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from comity.record.errors import ComityError
from comity.shell.errors import as_json
from comity.shell.wire import SCHEMA

PROGRESS_AFTER_S = 0.5
BAR_CELLS = 16
_CODES = {"good": "32", "bad": "31", "busy": "33", "dim": "2", "bold": "1", "": "0"}
_MARKS = {colour: chr(0xE000 + index) for index, colour in enumerate(_CODES)}
"""Private-use characters stand for colours until a line is written: text from elsewhere can at most change a colour."""
_ESCAPES = {ord(_MARKS[colour]): f"\x1b[{code}m" for colour, code in _CODES.items()}
_NOTHING = dict.fromkeys(_ESCAPES)


class Talk:
    """One command's voice. Colour and progress need a terminal and never carry meaning of their own."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.as_json = as_json
        self.out, self.err = out or sys.stdout, err or sys.stderr
        plain = bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"
        self._colour = self.out.isatty() and not plain
        self._colour_err = self.err.isatty() and not plain
        self._may_progress = (
            self.err.isatty() and environment.get("TERM") != "dumb" and not environment.get("COMITY_NO_PROGRESS")
        )
        self._began = time.monotonic()
        self._progress_shown = False

    @property
    def watches(self) -> bool:
        """Whether a person looks on, so that following along makes sense without being asked."""
        return self.out.isatty()

    def paint(self, text: str, colour: str) -> str:
        """Colour for a terminal; plain text elsewhere and for a colour that is none."""
        return f"{_MARKS[colour]}{text}{_MARKS['']}" if colour in _MARKS else text

    def data(self, value: object, *lines: str) -> None:
        """The result: under `--json` the value in our envelope, otherwise the lines."""
        if self.as_json:
            self._write_json({"schema": SCHEMA, "data": value})
            return
        for line in lines:
            self.line(line)

    def line(self, text: str = "") -> None:
        """A line of data for people."""
        self._clear()
        print(_printable(text).translate(_ESCAPES if self._colour else _NOTHING), file=self.out)

    def say(self, text: str) -> None:
        """A line of talk: what happens, what could be done next."""
        if not self.as_json:
            self._clear()
            print(_printable(text).translate(_ESCAPES if self._colour_err else _NOTHING), file=self.err)

    def error(self, error: ComityError) -> None:
        """What happened, why we know, and the command that mends it."""
        self._clear()
        if self.as_json:
            self._write_json({"schema": SCHEMA, "error": as_json(error)})
            return
        self.flush()
        self.say(f"{self.paint('error:', 'bad')} {error}")
        if error.hint:
            self.say(f"{self.paint('hint:', 'dim')} {error.hint}")

    def defect(self, error: Exception) -> None:
        """An error nobody expected."""
        what = ComityError(
            f"this should not have happened: {type(error).__name__}", hint="the same command with --debug shows where"
        )
        what.code, what.exit_code = "internal", 2
        self.error(what)

    def progress(self, done: int, total: int, text: str) -> None:
        """A bar on a terminal's stderr, once half a second has passed."""
        if not self._may_progress or self.as_json or time.monotonic() - self._began < PROGRESS_AFTER_S:
            return
        self._progress_shown = True
        self.err.write(f"\r\x1b[K  {bar(done, total)}  {_printable(text).translate(_NOTHING)}")
        self.err.flush()

    def flush(self) -> None:
        self._clear()
        self.out.flush()

    def _clear(self) -> None:
        if self._progress_shown:
            self.err.write("\r\x1b[K")
            self.err.flush()
            self._progress_shown = False

    def _write_json(self, value: object) -> None:
        print(json.dumps(value, ensure_ascii=False, indent=2), file=self.out)


def bar(done: int, total: int) -> str:
    """`████████        `: sixteen cells, empty when nothing is known."""
    full = BAR_CELLS * max(0, min(done, total)) // max(1, total)
    return "█" * full + "░" * (BAR_CELLS - full)


def table(rows: Sequence[Sequence[Any]], *, indent: str = "") -> list[str]:
    """Columns, each as wide as its widest cell, two spaces apart; the last is not padded."""
    texts = [[_printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not texts:
        return []
    count = max(len(row) for row in texts)
    widths = [max((_width(row[i]) for row in texts if i < len(row)), default=0) for i in range(count)]
    lines = ("  ".join(cell + " " * (widths[i] - _width(cell)) for i, cell in enumerate(row)) for row in texts)
    return [indent + line.rstrip() for line in lines]


def _printable(text: str) -> str:
    """Text from elsewhere must not move the cursor or forge a line: what cannot be printed is written as its number."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or ord(c) in _ESCAPES else f"\\x{ord(c):02x}" for c in text)


def _width(text: str) -> int:
    return len(text.translate(_NOTHING))
