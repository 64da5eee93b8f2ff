"""Text that must not change unnoticed, compared with reviewed files. `COMITY_TEST_SNAPSHOTS=write` writes them anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "shell" / "snapshots"
_PORT = re.compile(r"127\.0\.0\.1:\d{5}\b")


def check(name: str, text: str) -> None:
    """Compare with the snapshot of that name; ports that the system chose are made one."""
    path = FOLDER / f"{name}.txt"
    text = _PORT.sub("127.0.0.1:PORT", text)
    if os.environ.get("COMITY_TEST_SNAPSHOTS") == "write":
        path.write_text(text)
    assert path.exists(), f"no snapshot {name}; look at the text, then COMITY_TEST_SNAPSHOTS=write:\n{text}"
    assert text == path.read_text(), f"{name} differs from its snapshot"
