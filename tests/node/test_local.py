"""What a node alone knows: shared or private, never both; and it is there again when the store is."""

from __future__ import annotations

import pytest

from comity.node.errors import Forbidden
from comity.node.local import TABLES, LocalState
from comity.record.types import Digest
from comity.store.memory import MemoryStore

RECORD, OTHER, ROWS, CODE = (Digest(letter * 64) for letter in "abcd")


def test_it_outlives_the_object() -> None:
    store = MemoryStore(TABLES)
    first = LocalState(store)
    first.add_dataset(RECORD, ROWS, b"salt")
    first.share(CODE)
    first.keep_outcome("train/1", {"update": CODE, "weights": b"\x00\x01"})
    again = LocalState(store)
    assert (again.datasets()[RECORD].blob, again.datasets()[RECORD].salt) == (ROWS, b"salt")
    assert again.is_shared(CODE)
    assert again.outcome("train/1") == {"update": CODE, "weights": b"\x00\x01"}
    assert again.outcomes().keys() == {"train/1"}
    assert again.outcome("train/2") is None


def test_rows_are_never_shared_however_it_is_asked() -> None:
    local = LocalState(MemoryStore(TABLES))
    local.add_dataset(RECORD, ROWS, b"salt")
    with pytest.raises(Forbidden, match="is a dataset"):
        local.share(ROWS)
    assert not local.is_shared(ROWS)
    assert local.is_known(ROWS)


def test_a_blob_is_let_go_with_the_last_dataset_that_has_it() -> None:
    local = LocalState(MemoryStore(TABLES))
    local.add_dataset(RECORD, ROWS, b"1")
    local.add_dataset(OTHER, ROWS, b"2")
    assert local.forget_dataset(RECORD) is None
    assert local.forget_dataset(OTHER) == ROWS
    assert local.forget_dataset(OTHER) is None
    assert not local.datasets()


def test_orphans_are_neither_rows_nor_shared() -> None:
    local = LocalState(MemoryStore(TABLES))
    local.add_dataset(RECORD, ROWS, b"1")
    local.share(CODE)
    assert local.orphans([ROWS, CODE, OTHER]) == [OTHER]
