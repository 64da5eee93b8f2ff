"""The figures as rows, on the terminal and in docs/benchmarks.md, with the command and the machine that gave them.

Only what a run measured is written, between two marks in the page; the words around it are people's.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures: written by `make bench BENCH=--write` -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class Row:
    """One measured thing: what, its figure with a unit, and how it was measured."""

    what: str
    figure: str
    how: str


def machine() -> str:
    """Processor, cores, memory, system and Python, in a line."""
    model = platform.processor() or platform.machine()
    memory = ""
    if (info := Path("/proc/cpuinfo")).exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    if hasattr(os, "sysconf"):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return f"{model}, {os.cpu_count()} cores{memory}, {platform.system()}, Python {platform.python_version()}"


def commit() -> str:
    """The commit measured, with a mark when the tree differs from it."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table, which reads on a terminal too."""
    head = Row("what", "figure", "how")
    widths = [max(len(getattr(row, name)) for row in (head, *rows)) for name in ("what", "figure", "how")]
    lines = [_line(head, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def _line(row: Row, widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip((row.what, row.figure, row.how), widths, strict=True)]
    return "| " + " | ".join(cells) + " |"


def text(rows: Sequence[Row], command: str, load_before: float) -> str:
    """The whole block: command, machine, load, commit, table."""
    when = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        f"`{command}` on {when}, commit {commit()}.\n"
        f"Machine: {machine()}; load average {load_before:.1f} before the run.\n\n{table(rows)}"
    )


def write(block: str) -> None:
    """Put the block between the marks of the page."""
    page = PAGE.read_text()
    if BEGIN not in page or END not in page:
        raise SystemExit(f"{PAGE.relative_to(ROOT)} has lost its marks")
    before, rest = page.split(BEGIN, 1)
    PAGE.write_text(before + BEGIN + "\n\n" + block + "\n\n" + END + rest.split(END, 1)[1])
