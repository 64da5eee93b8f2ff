"""Proof by search that rows of a table are nowhere below some folders: as text, or as binary numbers of the usual widths.

A search can only find what is in the clear; what an update might reveal to inference is another question (see docs/learn.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

WINDOW = 3
"""So many neighbouring values in a row make a trace: one value alone may be anybody's."""


def needles(features: Any) -> list[bytes]:
    """What each row would look like in a file: three neighbouring cells as CSV, JSON, float64 and float32."""
    import numpy as np

    out: list[bytes] = []
    for row in features:
        cells = [repr(float(value)) for value in row[:WINDOW]]
        out += [",".join(cells).encode(), ", ".join(cells).encode()]
        out += [np.asarray(row[:WINDOW], dtype=kind).tobytes() for kind in ("<f8", "<f4")]
    return out


def traces_of(features: Any, folders: Sequence[Path]) -> tuple[int, int]:
    """(bytes searched, traces found) for the rows of `features` in every file below `folders`."""
    pattern = re.compile(b"|".join(map(re.escape, needles(features))))
    searched = found = 0
    for path in _files(folders):
        data = path.read_bytes()
        searched += len(data)
        found += len(pattern.findall(data))
    return searched, found


def _files(folders: Iterable[Path]) -> Iterable[Path]:
    return (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
