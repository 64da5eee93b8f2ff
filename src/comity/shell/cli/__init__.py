"""The command line: `main` reads the words, runs one command, prints its data and ends with its exit code.

Commands are declared in `table`, read in `grammar`, done in the modules beside. What it prints where: see `render.talk`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from comity.record.errors import ComityError
from comity.shell.cli.grammar import Request, read
from comity.shell.render.talk import Talk

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. `argv` is without the program's name."""
    words = list(sys.argv[1:] if argv is None else argv)
    talk = Talk(as_json="--json" in words)
    try:
        return _run(words, talk)
    except ComityError as error:
        if "--debug" in words:
            raise
        talk.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does: not an error, but Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # The last resort: a defect of ours still ends in our voice and with our code.
        if "--debug" in words:
            raise
        talk.defect(error)
        return 2


def _run(words: list[str], talk: Talk) -> int:
    from comity.shell.cli.table import COMMANDS

    request = read(words, COMMANDS)
    if request.show == "version":
        from comity import __version__

        talk.data({"version": __version__}, f"comity {__version__}")
        return 0
    if request.show == "help" or request.command is None:
        from comity.shell.cli.reference import command_help, overview

        for line in command_help(request.command) if request.command else overview(COMMANDS):
            talk.line(line)
        return 0
    return _perform(request, talk)


def _perform(request: Request, talk: Talk) -> int:
    if request.command is None:
        return 2
    module, _, function = request.command.run.partition(":")
    handler: Callable[..., Any] = getattr(import_module(f"comity.shell.cli.{module}"), function)
    code = handler(talk, request.org, **request.arguments)
    talk.flush()
    return code if isinstance(code, int) else 0
