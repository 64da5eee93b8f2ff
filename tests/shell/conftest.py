"""A fake node on a real socket, and the command line spoken to it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from comity.shell.cli import main
from support.fake_node import GENESIS, TOKEN, FakeNode


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        parts = [
            self.out,
            f"--- stderr\n{self.err}" if self.err else "",
            f"--- exit {self.code}\n" if self.code else "",
        ]
        return "".join(parts)


@pytest.fixture
def node() -> Iterator[FakeNode]:
    """A node whose credentials stand in COMITY_HOME."""
    fake = FakeNode()
    with fake.serve() as url:
        folder = Path(os.environ["COMITY_HOME"]) / "northfield"
        folder.mkdir(parents=True)
        credentials = {"url": url, "token": TOKEN, "genesis": GENESIS, "person": "dev@northfield"}
        (folder / "credentials.json").write_text(json.dumps(credentials))
        yield fake


@pytest.fixture
def comity(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs a command in this process."""

    def run(*words: str) -> Said:
        code = main(words)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run
