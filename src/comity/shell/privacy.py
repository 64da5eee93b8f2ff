"""Proof by search that rows of a table are nowhere below some folders: as text, or as binary numbers of the usual widths.

A search can only find what is in the clear; what an update might reveal to inference is another question (see docs/learn.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

WINDOW = 3
"""So many neighbouring values in a row make a trace: one value alone may be anybody's."""
HEAD_BYTES = 4


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
    wanted = _by_head(needles(features))
    searched = found = 0
    for path in _files(folders):
        data = path.read_bytes()
        searched += len(data)
        found += _count(data, wanted)
    return searched, found


def _by_head(wanted: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for needle in dict.fromkeys(wanted):
        found.setdefault(needle[:HEAD_BYTES], []).append(needle)
    return found


def _count(data: bytes, wanted: dict[bytes, list[bytes]]) -> int:
    """How often any needle stands in `data`, at any offset: its first four bytes are looked up for all offsets at once."""
    import numpy as np

    heads = np.array(sorted(int.from_bytes(head, "little") for head in wanted), dtype="<u4")
    likely = np.zeros(1 << 16, dtype=bool)
    likely[heads & 0xFFFF] = True
    found = 0
    for shift in range(HEAD_BYTES):
        length = (len(data) - shift) // HEAD_BYTES * HEAD_BYTES
        if length <= 0:
            continue
        words = np.frombuffer(data, dtype="<u4", count=length // HEAD_BYTES, offset=shift)
        places = np.nonzero(likely[words & 0xFFFF])[0]
        for place in places[np.isin(words[places], heads)].tolist():
            at = shift + place * HEAD_BYTES
            found += sum(data.startswith(needle, at) for needle in wanted[data[at : at + HEAD_BYTES]])
    return found


def _files(folders: Iterable[Path]) -> Iterable[Path]:
    return (
        path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()
    )
