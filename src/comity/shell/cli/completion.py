"""Completion scripts for bash, zsh and fish, made from the table of commands. They complete words and options, never ask a node."""

from __future__ import annotations

from collections.abc import Sequence

from comity.shell.cli.grammar import Argument, Command
from comity.shell.cli.table import COMMANDS
from comity.shell.render.talk import Talk

GLOBALS = ("--org", "--json", "--debug", "--help", "--version")


def completion(talk: Talk, org: str | None, shell: str) -> None:
    del org
    script = {"bash": bash, "zsh": zsh, "fish": fish}[shell](COMMANDS)
    talk.data({"shell": shell, "script": script}, *script.splitlines())


def _options(argument: Argument) -> list[str]:
    negated = [argument.name.replace("--", "--no-", 1)] if argument.negatable else []
    return [argument.name, *negated] if argument.is_option else list(argument.choices)


def _words_after(commands: Sequence[Command]) -> dict[str, list[str]]:
    """What may follow each beginning: `add` → dataset, service; `add dataset` → its options."""
    after: dict[str, list[str]] = {"": []}
    for command in commands:
        for position, word in enumerate(command.words):
            known = after.setdefault(" ".join(command.words[:position]), [])
            if word not in known:
                known.append(word)
        after.setdefault(command.name, []).extend(word for argument in command.arguments for word in _options(argument))
    return after


def bash(commands: Sequence[Command]) -> str:
    """A bash function: the longest known beginning decides what may follow; files otherwise."""
    cases = [f'    "{name}") words="{" ".join(found)}" ;;' for name, found in _words_after(commands).items() if name]
    top = " ".join([*_words_after(commands)[""], *GLOBALS])
    return "\n".join([
        "_comity() {",
        '  local words="" verb="" word skip=0',
        '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        '    if [ "$skip" = 1 ]; then skip=0; continue; fi',
        '    case "$word" in --org) skip=1 ;; -*) ;; *) [ "${verb#* }" = "$verb" ] && verb="${verb:+$verb }$word" ;; esac',
        "  done",
        '  case "$verb" in',
        f'    "") words="{top}" ;;',
        *cases,
        f'    *) case "${{verb%% *}}" in {_shortened(commands)} esac ;;',
        "  esac",
        '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
        "}",
        "complete -o default -F _comity comity",
    ])  # fmt: skip


def _shortened(commands: Sequence[Command]) -> str:
    after = _words_after(commands)
    return " ".join(
        f'{c.name}) words="{" ".join(after[c.name])}" ;;' for c in commands if len(c.words) == 1 and after[c.name]
    )


def zsh(commands: Sequence[Command]) -> str:
    """zsh runs the bash function through its own compatibility layer."""
    return "#compdef comity\nautoload -U +X bashcompinit && bashcompinit\n" + bash(commands)


def fish(commands: Sequence[Command]) -> str:
    """One `complete` line for each word and option."""
    lines = [f"complete -c comity -n __fish_use_subcommand -xa {w}" for w in _words_after(commands)[""]]
    for command in commands:
        seen = f"__fish_seen_subcommand_from {command.words[0]}"
        lines += [f"complete -c comity -n '{seen}' -xa {word}" for word in command.words[1:]]
        for argument in command.arguments:
            lines += [
                f"complete -c comity -n '{seen}' -l {name[2:]}{' -r' if argument.value else ''} -d '{_quoted(argument.help)}'"
                for name in _options(argument) if name.startswith("--")
            ]  # fmt: skip
    return "\n".join(dict.fromkeys(lines))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
