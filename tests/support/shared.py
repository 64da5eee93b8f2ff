"""The public test data beside the checkout: its path, or a skip with the reason. Archives are read, never unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

from support.places import SHARED
from support.skips import under_ci


def shared_data(path: str) -> Path:
    """`../shared/data/<path>`. Skips where there is none; under CI it fails if the folder is there and the data is not."""
    found = SHARED / "data" / path
    if not found.exists():
        if under_ci() and SHARED.is_dir():
            pytest.fail(f"../shared is there, but not data/{path}")
        pytest.skip(f"no ../shared/data/{path}: public data is not part of a clone")
    return found


@cache
def archive(path: Path) -> dict[str, dict[str, bytes]]:
    """The JSON files of a tar.xz: folder → file name → bytes."""
    folders: dict[str, dict[str, bytes]] = {}
    for name, data in _members(path):
        folders.setdefault(str(name.parent), {})[name.stem] = data
    return folders


def _members(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() and member.name.endswith(".json") else None
            if file is not None:
                yield PurePosixPath(member.name), file.read()
