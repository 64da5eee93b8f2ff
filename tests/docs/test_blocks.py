"""Every `python` and `console` block of the README and the guides runs, against four real nodes where it needs them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comity.shell import demo, demo_data
from comity.shell.dev import Network
from support.blocks import Block, blocks, differs, normal, steps
from support.places import ROOT
from support.ports import free_base

HOSPITALS = ("northfield", "riverside", "lakeside")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN_S_MAX = 240
FOUND = [(page, block) for page in PAGES for block in blocks(page.read_text()) if block.kind in ("python", "console")]


def named(value: object) -> str | None:
    """`README.md:30` for a test's id."""
    return f"{value.name}" if isinstance(value, Path) else f"line{value.line}" if isinstance(value, Block) else None


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """The development network, with fast blocks."""
    with Network(tmp_path_factory.mktemp("docs"), port=free_base(4), block_period_ms=200) as running:
        yield running


@pytest.fixture(scope="module")
def desk(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the blocks speak of: each hospital's table, the study, a patient."""
    import json

    folder = tmp_path_factory.mktemp("desk")
    tables = demo_data.load(HOSPITALS)
    for name, (features, labels) in tables.hospitals.items():
        demo_data.write_csv(folder / f"{name}.csv", tables.columns, features, labels)
    (folder / "breast.csv").write_bytes((folder / "northfield.csv").read_bytes())
    (folder / "study.py").write_bytes(demo.STUDY.read_bytes())
    patient = dict(zip(tables.columns, map(float, tables.held_out[0][0]), strict=True))
    (folder / "patient.json").write_text(json.dumps(patient))
    return folder


def run(command: list[str], desk: Path, network: Network) -> subprocess.CompletedProcess[str]:
    """One command as a person at this desk would run it."""
    environment = {
        **os.environ,
        "COMITY_HOME": str(network.root),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        command, cwd=desk, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_S_MAX
    )


@pytest.mark.net
@pytest.mark.timeout(RUN_S_MAX + 60)
@pytest.mark.parametrize(("page", "block"), [pair for pair in FOUND if pair[1].kind == "python"], ids=named)
def test_python_block_runs(page: Path, block: Block, network: Network, desk: Path) -> None:
    done = run([sys.executable, "-W", "error", "-c", block.body], desk, network)
    assert done.returncode == 0, f"{page.name}:{block.line}\n{done.stdout}{done.stderr}"


@pytest.mark.net
@pytest.mark.timeout(RUN_S_MAX + 60)
@pytest.mark.parametrize(("page", "block"), [pair for pair in FOUND if pair[1].kind == "console"], ids=named)
def test_console_block_runs(page: Path, block: Block, network: Network, desk: Path) -> None:
    for step in steps(block.body):
        words = shlex.split(step.command)
        expected = step.output
        code = 0
        if expected and expected[-1].startswith("exit "):
            code, expected = int(expected[-1].split()[1]), expected[:-1]
        if words[:2] == ["make", "demo"]:
            # What make would run once it has installed: the network of its own, on other ports than this module's.
            words = ["comity", "demo", "--port", str(free_base(4))]
        elif words[0] == "make":
            words = ["make", "-n", *words[1:], "-C", str(ROOT)]
            expected = ()
        assert words[0] in ("comity", "make", "python"), f"{page.name}:{block.line}: `{words[0]}` is not run here"
        done = run(words, desk, network)
        where = f"{page.name}:{block.line}: {step.command}\n"
        assert done.returncode == code, where + done.stdout + done.stderr
        assert not (why := differs(expected, done.stdout + done.stderr)), where + why


def test_the_readme_shows_what_it_must() -> None:
    text = (ROOT / "README.md").read_text()
    kinds = [block.kind for block in blocks(text)]
    assert kinds.count("python") == 1
    example = next(block for block in blocks(text) if block.kind == "python")
    assert len([line for line in example.body.splitlines() if line.strip()]) <= 12
    commands = [step.command for block in blocks(text) if block.kind == "console" for step in steps(block.body)]
    assert commands[0] == "make demo"
    assert "docs/images/console.png" in text


def test_comparison_forgives_figures_and_nothing_else() -> None:
    shown = ("dataset  breast@1  9c41e7a0b2…   214 rows", "…", "service  triage → breast-mlp@1 (c81f…)")
    came = "dataset  breast@1  00aa11bb22cc…  190 rows\nanything\nservice triage → breast-mlp@1 (dead…)\n"
    assert not differs(shown, came)
    assert differs(shown, came.replace("triage", "other"))
    assert differs(shown[:1], "")
    assert differs(("two", "one"), "one\ntwo")
    assert normal("  round 30/30  ████████  loss 0.081") == "round 0/0 = loss 0"


def test_a_console_block_is_cut_into_steps() -> None:
    body = "$ comity ls \\\n    --kind dataset\nline\n\n$ comity status\n"
    assert [(step.command, [line for line in step.output if line]) for step in steps(body)] == [
        ("comity ls --kind dataset", ["line"]),
        ("comity status", []),
    ]
