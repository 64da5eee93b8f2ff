"""Fenced blocks of Markdown pages, and how the output that a page promises is compared with the output that came.

Not a doctest: figures, digests, ports and times may differ; words, order and layout may not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FENCE = re.compile(r"^```(?P<kind>\w+)?[^\n]*\n(?P<body>.*?)^```\s*$", re.MULTILINE | re.DOTALL)
PROMPT = "$ "
STORY = "$ make demo\n"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, text, and the line that it begins on."""

    kind: str
    body: str
    line: int


@dataclass(frozen=True)
class Step:
    """A command of a console block and the lines that the page shows after it."""

    command: str
    output: tuple[str, ...]


def blocks(text: str) -> list[Block]:
    """Every fenced block of a page, in order."""
    return [Block(m["kind"] or "", m["body"], text.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(text)]


def steps(body: str) -> list[Step]:
    """The commands of a console block; a trailing backslash continues one. What `make demo` prints has prompts of its own."""
    if body.startswith(STORY):
        return [Step(STORY[len(PROMPT) :].strip(), tuple(body.splitlines()[1:]))]
    found: list[tuple[str, list[str]]] = []
    continued = False
    for line in body.splitlines():
        if continued:
            command, output = found.pop()
            found.append((command[:-1].rstrip() + " " + line.strip(), output))
        elif line.startswith(PROMPT):
            found.append((line[len(PROMPT) :], []))
        elif found:
            found[-1][1].append(line)
        continued = line.endswith("\\") and (continued or line.startswith(PROMPT))
    return [Step(command, tuple(output)) for command, output in found]


def normal(line: str) -> str:
    """A line with what may differ taken out: digests, link secrets, numbers, runs of blanks and bars."""
    line = re.sub(r"/login/\S+", "/login/#", line)
    line = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{4,}\b…?|\b[a-f]{4,}…", "#", line)
    line = re.sub(r"[█░▏▎▍▌▋▊▉▒]+", "=", line)
    line = re.sub(r"-?(\d[\d,]*)?\.?\d+", "0", line)
    return re.sub(r"[\s#]+", lambda m: "#" if "#" in m.group() else " ", line).strip()


def differs(shown: tuple[str, ...], came: str) -> str:
    """Why `came` is not what the page shows, or nothing. A line of `…` stands for any lines; blank lines do not count."""
    actual = [normal(line) for line in came.splitlines() if line.strip()]
    at, free = 0, False
    for line in shown:
        if not line.strip():
            continue
        if line.strip() in ("…", "..."):
            free = True
            continue
        wanted = normal(line)
        try:
            found = actual.index(wanted, at) if free else at
        except ValueError:
            rest = "\n  ".join(actual[at : at + 8])
            return f"the page shows\n  {line}\nwhich never came; from line {at + 1} on there was\n  {rest}"
        if found >= len(actual) or actual[found] != wanted:
            got = actual[found] if found < len(actual) else "(nothing more)"
            return f"the page shows\n  {wanted}\nbut there came\n  {got}"
        at, free = found + 1, False
    return ""
