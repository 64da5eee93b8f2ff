"""docs/doctor.md has a row for each check of every node, with its name, severity and what it rests on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from comity.node.doctor import standard_checks
from support.places import ROOT


def test_every_check_has_its_row() -> None:
    vitals: Any = SimpleNamespace(isolation=None, receipts=None)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs" / "doctor.md").read_text().splitlines()
        if line.startswith("| C")
    ]
    wanted = [[c.code, c.name, c.severity, ", ".join(c.depends_on)] for c in standard_checks(vitals)]
    assert [row[:4] for row in rows] == wanted
