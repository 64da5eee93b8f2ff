"""The help that `--help` prints and the reference in docs/cli.md, both from the table of commands."""

from __future__ import annotations

from collections.abc import Sequence

from comity.shell.cli.grammar import Argument, Command
from comity.shell.render.talk import table

GRAMMAR = "comity [--org NAME] [--json] <verb> [<kind>] [<name>]"
GLOBALS = (
    ("--org NAME", "the organisation to speak for (default: COMITY_ORG, or the only one on this machine)"),
    ("--json", "data on stdout as JSON, in the envelope comity/v1"),
    ("--debug", "a traceback instead of a hint"),
    ("--help, --version", ""),
)
EXITS = (
    ("0", "done"),
    ("1", "refused for a reason that you can mend"),
    ("2", "wrong usage, or an error of ours"),
    ("3", "denied by policy"),
    ("4", "verification failed: evidence is not what was sealed"),
    ("5", "the node is unreachable or not ready"),
)
ENVIRONMENT = (
    (
        "COMITY_HOME",
        "where organisations live on this machine (default: $XDG_DATA_HOME/comity, or ~/.local/share/comity)",
    ),
    ("COMITY_ORG", "the organisation to speak for"),
    ("COMITY_NO_PROGRESS", "no progress on a terminal"),
    ("NO_COLOR", "no colour on a terminal"),
)


def _default(argument: Argument) -> str:
    if argument.default is None or argument.default is False:
        return ""
    return f" (default: {argument.default})"


def _rows(command: Command) -> list[tuple[str, str]]:
    return [
        (
            argument.usage.strip("[]…").rstrip("] ") if argument.is_option else argument.name.upper(),
            argument.help + (f": {', '.join(argument.choices)}" if argument.choices else "") + _default(argument),
        )
        for argument in command.arguments
    ]


def overview(commands: Sequence[Command]) -> list[str]:
    """What `comity --help` prints."""
    lines = [GRAMMAR, ""]
    for group in dict.fromkeys(command.group for command in commands):
        rows = [(command.name, command.help) for command in commands if command.group == group]
        lines += [group, *table(rows, indent="  "), ""]
    return [
        *lines,
        "Everywhere",
        *table(GLOBALS, indent="  "),
        "",
        "comity <verb> --help tells more. Exit codes: 0 ok, 1 mend it, 2 usage, 3 denied, 4 tampered, 5 no node.",
    ]


def command_help(command: Command) -> list[str]:
    """What `comity <verb> --help` prints."""
    lines = [
        command.usage,
        "",
        f"{command.help[0].upper()}{command.help[1:]}.{' ' + command.detail if command.detail else ''}",
    ]
    if command.arguments:
        lines += ["", *table(_rows(command), indent="  ")]
    return lines + ([""] + [f"$ {example}" for example in command.examples] if command.examples else [])


def page(commands: Sequence[Command]) -> str:
    """The generated part of docs/cli.md."""
    parts = [
        "## Everywhere\n",
        f"`{GRAMMAR}`\n",
        _markdown(("option", "meaning"), [(f"`{name}`", text) for name, text in GLOBALS]),
    ]
    parts += ["## Exit codes\n", _markdown(("code", "meaning"), EXITS)]
    parts += [
        "## Environment\n",
        _markdown(("variable", "meaning"), [(f"`{name}`", text) for name, text in ENVIRONMENT]),
    ]
    for group in dict.fromkeys(command.group for command in commands):
        parts.append(f"## {group}\n")
        for command in commands:
            if command.group == group:
                parts += _section(command)
    return "\n".join(parts)


def _section(command: Command) -> list[str]:
    text = f"{command.help[0].upper()}{command.help[1:]}.{' ' + command.detail if command.detail else ''}"
    parts = [f"### comity {command.name}\n", f"{text}\n", f"```\n{command.usage}\n```\n"]
    if command.arguments:
        parts.append(_markdown(("argument", "meaning"), [(f"`{name}`", text) for name, text in _rows(command)]))
    return parts


def _markdown(head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    lines += [f"| {name.replace('|', chr(92) + '|')} | {text.replace('|', chr(92) + '|')} |" for name, text in rows]
    return "\n".join(lines) + "\n"
