"""How a command is declared and its arguments read: one declaration makes parser, help, reference page and completion.

Only the parser of the command that was typed is built, over argparse, so that a command starts in a blink (a measured
choice: docs/cli.md). See `table` for the commands.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from comity.shell.errors import BadUsage


class Argument(NamedTuple):
    """A word after the verb (`dataset`), or an option (`--to`) with or without a value."""

    name: str
    help: str
    value: str = ""
    """What the help calls the value: `ORG`. Empty for a switch."""
    default: Any = None
    required: bool = False
    repeat: bool = False
    type: type = str
    choices: tuple[str, ...] = ()
    optional: bool = False
    """For a word: it may be left out."""
    negatable: bool = False
    """For a switch: `--no-…` turns it off."""

    @property
    def is_option(self) -> bool:
        return self.name.startswith("--")

    @property
    def key(self) -> str:
        return self.name.lstrip("-").replace("-", "_")

    @property
    def usage(self) -> str:
        """How it stands in a usage line."""
        if not self.is_option:
            return f"[{self.name.upper()}]" if self.optional else self.name.upper()
        switch = self.name.replace("--", "--[no-]", 1) if self.negatable else self.name
        shown = f"{switch} {self.value}" if self.value else switch
        if self.required:
            return f"{shown} …" if self.repeat else shown
        return f"[{shown}]…" if self.repeat else f"[{shown}]"


class Command(NamedTuple):
    """One command: the words that name it, its help, its arguments, and `module:function`, imported when it runs."""

    words: tuple[str, ...]
    group: str
    help: str
    run: str
    arguments: tuple[Argument, ...] = ()
    detail: str = ""
    examples: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join(self.words)

    @property
    def usage(self) -> str:
        return " ".join(["comity", self.name, *(argument.usage for argument in self.arguments)])


class Request(NamedTuple):
    """What was typed, read: the global options, the command, and its arguments by key."""

    command: Command | None
    org: str | None = None
    as_json: bool = False
    debug: bool = False
    show: str = ""
    """`version` or `help` when that was asked for."""
    arguments: dict[str, Any] = {}  # noqa: RUF012  # Never written to: a NamedTuple is a value.


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadUsage(_in_our_words(message), hint=f"{self.prog} --help")


def _in_our_words(message: str) -> str:
    return message.replace("the following arguments are required: ", "missing ").replace(
        "unrecognized arguments:", "unknown argument"
    )


def parser(command: Command) -> argparse.ArgumentParser:
    """The parser of one command's own words and options."""
    made = _Parser(prog=f"comity {command.name}", add_help=False, allow_abbrev=False)
    for argument in command.arguments:
        _declare(made, argument)
    return made


def _declare(made: argparse.ArgumentParser, argument: Argument) -> None:
    if not argument.is_option:
        choices = argument.choices or None
        nargs = "?" if argument.optional else None
        made.add_argument(
            argument.key, metavar=argument.name.upper(), default=argument.default, choices=choices, nargs=nargs
        )
    elif not argument.value:
        action = argparse.BooleanOptionalAction if argument.negatable else "store_true"
        made.add_argument(argument.name, dest=argument.key, action=action, default=argument.default or None)
    elif argument.repeat:
        made.add_argument(
            argument.name, dest=argument.key, action="append", required=argument.required, metavar=argument.value
        )
    else:
        made.add_argument(
            argument.name, dest=argument.key, required=argument.required, default=argument.default, type=argument.type,
            choices=argument.choices or None, metavar=argument.value,
        )  # fmt: skip


def read(argv: Sequence[str], commands: Sequence[Command]) -> Request:
    """Read a command line. The global options stand anywhere before `--`. Raises `BadUsage`."""
    words, org, switches = _globals(list(argv))
    request = Request(None, org, "--json" in switches, "--debug" in switches)
    if "--version" in switches:
        return request._replace(show="version")
    if not words or words == ["help"]:
        return request._replace(show="help")
    command = find(words, commands)
    if "--help" in switches:
        return request._replace(command=command, show="help")
    if command is None:
        raise _unknown(words, commands)
    namespace = parser(command).parse_args(words[len(command.words) :])
    return request._replace(command=command, arguments=vars(namespace))


def find(words: Sequence[str], commands: Sequence[Command]) -> Command | None:
    """The command that the first words name; the longest match wins."""
    found = [command for command in commands if tuple(words[: len(command.words)]) == command.words]
    return max(found, key=lambda command: len(command.words), default=None)


def _globals(argv: list[str]) -> tuple[list[str], str | None, set[str]]:
    words: list[str] = []
    switches: set[str] = set()
    org: str | None = None
    names = {"--json": "--json", "--debug": "--debug", "--version": "--version", "--help": "--help", "-h": "--help"}
    while argv:
        word = argv.pop(0)
        if word == "--":
            return [*words, word, *argv], org, switches
        if word == "--org":
            if not argv:
                raise BadUsage("--org wants an organisation's name", hint="comity --org NAME …")
            org = argv.pop(0)
        elif word.startswith("--org="):
            org = word.partition("=")[2]
        elif word in names and not (word == "--version" and words):
            switches.add(names[word])
        else:
            words.append(word)
    return words, org, switches


def _unknown(words: Sequence[str], commands: Sequence[Command]) -> BadUsage:
    import difflib

    beginnings = [command for command in commands if command.words[0] == words[0]]
    if beginnings:
        kinds = " or ".join(f"comity {command.name}" for command in beginnings)
        return BadUsage(f"`{words[0]}` wants to know what", hint=kinds)
    near = difflib.get_close_matches(words[0], sorted({command.words[0] for command in commands}), n=1)
    hint = f"did you mean `comity {near[0]}`?" if near else "comity --help lists the commands"
    return BadUsage(f"no command `{words[0][:40]}`", hint=hint)
