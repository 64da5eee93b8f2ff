"""Writes docs/settings.md and docs/errors.md from the code: `make reference`. tests/docs holds the pages to it.

The command line's page is written by `comity.shell.cli.reference`, the records' and the API's by people.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import comity
from comity.node.config import SETTINGS
from comity.record.errors import ComityError

DOCS = Path(__file__).resolve().parents[1] / "docs"
EXITS = {
    0: "ok",
    1: "you can mend it",
    2: "bad usage, or a defect of ours",
    3: "denied by policy",
    4: "verification found something that is not what was sealed",
    5: "no node answered, or it is not ready",
}
HEAD = "<!-- Written by `make reference`. Do not edit. -->\n"


def cell(text: str) -> str:
    """Text that fits a Markdown table's cell: one line, pipes escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def settings_page() -> str:
    """Every setting with its variable, default and meaning."""
    rows = [
        f"| `{setting.name}` | `{setting.environment}` | {type_name(setting.type)} | `{setting.default!r}` | {cell(setting.help)} |"
        for setting in SETTINGS
    ]
    return "\n".join(
        [
            "# Settings",
            HEAD,
            "A flag wins over the environment, that over the organisation's `config.toml`, that over the default.",
            "`comity config show --origin` prints every value with where it came from. `COMITY_HOME` is the folder that holds the",
            "organisations' folders (default: `comity` under `XDG_DATA_HOME`); `COMITY_ORG` chooses one for the command line.",
            "",
            "| setting | environment | type | default | meaning |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def type_name(kind: type) -> str:
    """A type as people say it."""
    return {str: "text", int: "number", bool: "yes or no"}.get(kind, kind.__name__)


def import_all() -> None:
    """Import every module of ours that imports nothing that is absent."""
    for module in pkgutil.walk_packages(comity.__path__, "comity."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def error_classes() -> list[type[ComityError]]:
    """Every expected error, each once, by code."""
    found: dict[str, type[ComityError]] = {}
    todo: list[type[ComityError]] = [ComityError]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind.__module__.startswith("comity."):
            found[f"{kind.__module__}.{kind.__qualname__}"] = kind
    return sorted(found.values(), key=lambda kind: (kind.code, kind.__module__, kind.__qualname__))


def errors_page() -> str:
    """Every code with its exit code, class and meaning."""
    import_all()
    rows = []
    for kind in error_classes():
        meaning = cell((kind.__doc__ or "").strip().split("\n\n")[0])
        place = ".".join(kind.__module__.split(".")[1:2])
        rows.append(f"| `{kind.code}` | {kind.exit_code} | `{place}` {kind.__qualname__} | {meaning} |")
    return "\n".join(
        [
            "# Errors",
            HEAD,
            "An error says what happened, why we know, and the command that mends it. `code` is stable: programs may act on it.",
            "",
            "| exit code | means |",
            "|---|---|",
            *(f"| {code} | {meaning} |" for code, meaning in EXITS.items()),
            "",
            "| code | exit | from | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


PAGES = {"settings.md": settings_page, "errors.md": errors_page}


def main() -> None:
    """Write both pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
        sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
