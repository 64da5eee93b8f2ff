"""Founding and joining: the genesis digest is all that must be trusted, and a wrong one makes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.node.errors import BadRequest
from comity.node.founding import GENESIS_BYTES_MAX, init, join
from comity.node.home import Home
from comity.record.errors import ComityError


def test_found_one_and_join_it(tmp_path: Path) -> None:
    digest = init(tmp_path / "northfield", org="northfield", port=7400, person="anna")
    document = Home(tmp_path / "northfield").genesis.read_bytes()
    member = join(tmp_path / "riverside", document, digest, org="riverside", port=7410, person="ben")
    assert (member["name"], member["endpoint"]) == ("riverside", "127.0.0.1:7411")
    assert Home(tmp_path / "riverside").genesis.read_bytes() == document
    assert Home(tmp_path / "riverside").key("org") != Home(tmp_path / "northfield").key("org")


def test_what_is_not_that_genesis_makes_nothing(tmp_path: Path) -> None:
    digest = init(tmp_path / "northfield", org="northfield", port=7400, person="anna")
    document = Home(tmp_path / "northfield").genesis.read_bytes()
    with pytest.raises(BadRequest, match="not the one you expect"):
        join(tmp_path / "riverside", document, "0" * 64, org="riverside", port=7410, person="ben")
    with pytest.raises(BadRequest, match="founder of this network"):
        join(tmp_path / "riverside", document, digest, org="northfield", port=7410, person="ben")
    assert not (tmp_path / "riverside").exists()


@given(document=st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_no_document_surprises_it(document: bytes) -> None:
    with pytest.raises(ComityError):
        join(Path("never"), document, "0" * 64, org="riverside", port=7410, person="ben")
    assert not Path("never").exists()


def test_a_document_is_read_to_its_limit(tmp_path: Path) -> None:
    with pytest.raises(ComityError):
        join(tmp_path / "riverside", b"{" * (GENESIS_BYTES_MAX * 2), "0" * 64, org="riverside", port=7410, person="ben")
