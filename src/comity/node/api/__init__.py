"""The HTTP API of docs/api.md: one table of routes, each with the role it needs; `build` makes them Starlette routes.

Who asks is settled before (`auth.Guard`); what a person asks is done by `desk`, what the view says is shaped by `present`.
"""

from __future__ import annotations

from comity.node.api.dispatch import Entry, build
from comity.node.api.reading import READING
from comity.node.api.writing import WRITING

ENTRIES: tuple[Entry, ...] = (*READING, *WRITING)

__all__ = ["ENTRIES", "Entry", "build"]
