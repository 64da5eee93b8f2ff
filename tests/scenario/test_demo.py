"""`comity demo` as a person runs it: every act plays, the figures hold, and an interrupt leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.ports import free_base

pytestmark = [pytest.mark.net, pytest.mark.timeout(300)]
LAST_LINE = "The network keeps running"
ACTS = (
    r"quorum 3 of 4 · genesis [0-9a-f]{12}",
    r"1  Each hospital adds its own patients",
    r"dataset  breast@1  [0-9a-f]{12}….*157 rows × 31 columns",
    r"2  Northfield proposes to train together. Nothing runs yet.",
    r"waiting for: riverside, lakeside",
    r"reads breast@1 for diagnosis",
    r"round 20/20 .*3 of 3 took part, 0 refused",
    r"3  The joint model is proposed",
    r"evaluations: .*northfield \.9",
    r"service  triage → breast-mlp@1",
    r"4  A prediction, and its receipt.",
    r'"receipt": "[0-9a-f]{64}"',
    r"5  The regulator, offline, with nothing but the genesis digest.",
    r"✓ receipt .*match",
    r"✓ anchored .*batch root in block \d+, sealed by",
    r"✓ service .*3 of 4 votes, time lock kept",
    r"✓ study .*20 rounds",
    r"✓ data .*3 datasets",
    r"no network used",
    r"6  Someone changes one byte.",
    r"✗ round \d+",
    r"error: evidence is not what was sealed",
    r"exit 4",
    r"northfield .* 0 found · control: 157 found",
    r"accuracy",
    r"http://127\.0\.0\.1:\d+/login/",
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """The demo, played to its last line and still up; with what it printed and its folder."""
    root = tmp_path_factory.mktemp("demo")
    command = [
        sys.executable,
        "-m",
        "comity.shell.cli",
        "demo",
        "--stay",
        "--keep",
        str(root / "kept"),
        "--port",
        str(free_base(4)),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith(LAST_LINE):
                break
        yield process, "".join(lines), root / "kept"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_every_act_plays_in_order(played: tuple[subprocess.Popen[str], str, Path]) -> None:
    text, position = played[1], 0
    for act in ACTS:
        found = re.compile(act).search(text, position)
        assert found, f"no {act!r} after:\n{text[max(0, position - 400) : position]}\n…\n{text[position:][:2000]}"
        position = found.start()


def test_together_is_better_than_alone_and_as_good_as_pooled(played: tuple[subprocess.Popen[str], str, Path]) -> None:
    row = re.search(r"accuracy\s+northfield (\S+)\s+riverside (\S+)\s+lakeside (\S+)\s+(\S+)\s+(\S+)", played[1])
    assert row, played[1][-1500:]
    *alone, together, pooled = map(float, row.groups())
    assert together > sum(alone) / 3 + 0.05
    assert together > 0.94
    assert together > pooled - 0.03


def test_an_interrupt_leaves_no_process_behind(played: tuple[subprocess.Popen[str], str, Path]) -> None:
    process, _, root = played
    assert _processes_of(root)
    process.send_signal(signal.SIGINT)
    process.wait(20)
    deadline = time.monotonic() + 5
    while (left := _processes_of(root)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def _processes_of(root: Path) -> list[str]:
    """Command lines and homes of living processes that belong to the network below `root`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(root).encode() in words and int(entry.name) != os.getpid():
            found.append(f"{entry.name}: {words[:200]!r}")
    return found
