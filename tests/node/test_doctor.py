"""The doctor: a root cause shows once, a check that fails says so, and each vital sign finds its own trouble."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comity.node.doctor import Check, Doctor, Vitals, standard_checks


def check(code: str, ok: bool, severity: Any = "error", depends_on: tuple[str, ...] = ()) -> Check:
    return Check(code, code.lower(), severity, lambda: (ok, "detail"), "fix", depends_on)


def test_a_root_cause_shows_once() -> None:
    report = Doctor(
        [check("A", False), check("B", True, depends_on=("A",)), check("C", False, depends_on=("B",)), check("D", True)]
    ).examine()
    assert [row["ok"] for row in report["checks"]] == [False, None, None, True]
    assert "A comes first" in report["checks"][1]["detail"]
    assert report["health"] == "error"


@pytest.mark.parametrize(
    ("checks", "health"),
    [([], "ok"), ([("A", True, "error")], "ok"), ([("A", False, "warning")], "warning"),
     ([("A", False, "warning"), ("B", False, "error")], "error")],
)  # fmt: skip
def test_health_is_the_worst(checks: list[tuple[str, bool, str]], health: str) -> None:
    assert Doctor([check(*row) for row in checks]).examine()["health"] == health


def test_a_check_that_breaks_is_a_finding() -> None:
    def broken() -> tuple[bool, str]:
        raise OSError("no such disk")

    (row,) = Doctor([Check("A", "a", "error", broken, "fix")]).examine()["checks"]
    assert row["ok"] is False
    assert "no such disk" in row["detail"]


WELL = Vitals(
    halted=lambda: "", children=lambda: {"signer": True, "executor": True}, peers=lambda: (3, 3), validators=lambda: (4, 3, 4),
    head_age_s=lambda: 1.0, empty_period_s=30.0, pending=lambda: 0, failures=list, isolation=lambda: (True, "proved"),
    receipts=lambda: (True, "durable"), folder=Path("/"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"children": lambda: {"signer": False}}, "C001", "signer not running"),
        ({"folder": Path("/nowhere/at/all")}, "C002", "check itself failed"),
        ({"halted": lambda: "two blocks at height 7"}, "C003", "two blocks at height 7"),
        ({"peers": lambda: (2, 3)}, "C004", "2 of 3 connected"),
        ({"validators": lambda: (2, 3, 4)}, "C005", "2 of 4 validators in reach, quorum 3"),
        ({"head_age_s": lambda: 91.0}, "C006", "91 s old"),
        ({"head_age_s": lambda: 31.0, "pending": lambda: 1}, "C006", "1 transactions wait"),
        ({"isolation": lambda: (False, "no namespaces")}, "C007", "no namespaces"),
        ({"receipts": lambda: (False, "No space left")}, "C008", "No space left"),
        ({"failures": lambda: ["train/x: it broke"]}, "C009", "train/x: it broke"),
    ],
)
def test_each_vital_sign_finds_its_trouble(change: dict[str, Any], code: str, said: str) -> None:
    rows = {row["code"]: row for row in Doctor(standard_checks(replace(WELL, **change))).examine()["checks"]}
    assert rows[code]["ok"] is False
    assert said in rows[code]["detail"]
    assert [row["code"] for row in rows.values() if row["ok"] is False] == [code]
    assert rows[code]["fix"]


def test_a_healthy_node_is_well_and_its_codes_are_documented() -> None:
    checks = standard_checks(WELL)
    assert Doctor(checks).examine()["health"] == "ok"
    assert len({c.code for c in checks}) == len(checks)
    page = Path(__file__).parents[2] / "docs" / "doctor.md"
    assert set(re.findall(r"C\d{3}", page.read_text())) == {c.code for c in checks}
