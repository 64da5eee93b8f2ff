"""docs/cli.md is the table of commands in words. `COMITY_TEST_SNAPSHOTS=write` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

from comity.shell.cli.reference import page
from comity.shell.cli.table import COMMANDS

CLI = Path(__file__).parents[2] / "docs" / "cli.md"
MARK = "<!-- generated from src/comity/shell/cli/table.py -->\n\n"


def test_the_reference_is_current() -> None:
    head, mark, found = CLI.read_text().partition(MARK)
    assert mark
    wanted = page(COMMANDS)
    if os.environ.get("COMITY_TEST_SNAPSHOTS") == "write":
        CLI.write_text(head + MARK + wanted)
        return
    assert found == wanted, "docs/cli.md is old: COMITY_TEST_SNAPSHOTS=write"


def test_every_help_is_one_clause_and_every_argument_has_words() -> None:
    for command in COMMANDS:
        assert command.help
        assert not command.help.endswith(".")
        assert all(argument.help for argument in command.arguments)
