"""Whether two JSON values have one shape: the same keys and types all the way down. Used to hold docs/api.md to what is served."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

API = Path(__file__).parents[2] / "docs" / "api.md"
FREE = {"spec", "metrics", "arguments", "payload", "envelope", "value"}
"""Keys whose values have a shape of their own, written elsewhere."""
_BLOCK = re.compile(r"^### ([^\n]+)\n(.*?)(?=^#{1,3} |\Z)", re.MULTILINE | re.DOTALL)
_JSON = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)


def brief() -> Any:
    """The example of a Brief."""
    found = re.search(r"^```json brief\n(.*?)^```", API.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return json.loads(found[1])


def examples() -> Iterator[tuple[str, Any]]:
    """(route, data) for each answer that the page shows."""
    for heading, text in _BLOCK.findall(API.read_text()):
        for block in _JSON.findall(text):
            yield heading, json.loads(block)


def difference(example: Any, actual: Any, path: str = "data") -> str:
    """Where two values differ in shape, or nothing. Null on either side fits; a list is as its first element."""
    if example is None or actual is None:
        return ""
    if example == "@brief":
        return difference(brief(), actual, path)
    if type(example) is not type(actual):
        return f"{path}: {type(actual).__name__}, not {type(example).__name__}"
    if isinstance(example, dict):
        if set(example) != set(actual):
            return f"{path}: keys {sorted(set(example) ^ set(actual))} on one side only"
        inner = (difference(example[key], actual[key], f"{path}.{key}") for key in example if key not in FREE)
        return next((text for text in inner if text), "")
    if isinstance(example, list) and example:
        inner = (difference(example[0], one, f"{path}[{index}]") for index, one in enumerate(actual))
        return next((text for text in inner if text), "")
    return ""
