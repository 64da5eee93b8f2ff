"""The search that proves rows absent must find them wherever they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.shell.privacy import _by_head, _count, needles, traces_of

ROWS = np.random.default_rng(3).normal(size=(20, 5)) * 100


@pytest.mark.parametrize("offset", range(9))
@pytest.mark.parametrize("kind", ["<f8", "<f4"])
def test_binary_rows_at_any_offset_are_found(tmp_path: Path, kind: str, offset: int) -> None:
    (tmp_path / "deep").mkdir()
    data = b"x" * offset + ROWS[7].astype(kind).tobytes() + b"y" * 5
    (tmp_path / "deep" / "file").write_bytes(data)
    assert traces_of(ROWS, [tmp_path]) == (len(data), 1)


def test_text_rows_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join(",".join(map(repr, map(float, row))) for row in ROWS))
    (tmp_path / "b.json").write_text(json.dumps(ROWS[:4].tolist()))
    assert traces_of(ROWS, [tmp_path])[1] == 24


def test_other_data_is_not(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(np.random.default_rng(4).normal(size=5000).tobytes())
    (tmp_path / "empty").write_bytes(b"")
    assert traces_of(ROWS, [tmp_path])[1] == 0


@given(st.binary(max_size=200), st.lists(st.binary(min_size=4, max_size=8), min_size=1, max_size=5))
def test_it_counts_as_a_plain_search_does(data: bytes, wanted: list[bytes]) -> None:
    plain = sum(data.startswith(needle, at) for needle in set(wanted) for at in range(len(data)))
    assert _count(data, _by_head(wanted)) == plain


def test_each_row_has_its_needles() -> None:
    assert len(set(needles(ROWS))) == 4 * len(ROWS)
