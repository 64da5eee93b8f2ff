"""Profiles: right for good tables, and for bad ones an error that names the place and shows no value."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.data import profile as module
from comity.data.errors import DataError, MalformedTable
from comity.data.profile import Column, Profile, profile


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def test_csv() -> None:
    table = b"id,age,name,sick,weight\r\n1,31,Ann,true,60.5\r\n2,,Bob,false,1e2\r\n3,NA,,true,-.5\r\n"
    assert profile(table) == Profile(
        3,
        (
            Column("id", "integer", 0),
            Column("age", "integer", 2),
            Column("name", "text", 1),
            Column("sick", "boolean", 0),
            Column("weight", "number", 0),
        ),
    )


def test_csv_quoting_marks_and_blank_lines() -> None:
    assert profile(b'\xef\xbb\xbfa,"b, c"\n"1\n2",3\n\n"x ""y""",4\n') == Profile(
        2, (Column("a", "text", 0), Column("b, c", "integer", 0))
    )


def test_parquet() -> None:
    table = parquet(
        a=[1, None, 3],
        b=[1.5, 2.5, None],
        c=["x", None, None],
        d=[True, False, None],
        e=pa.array([1, 2, 3], pa.timestamp("s")),
    )
    assert profile(table) == Profile(
        3,
        (
            Column("a", "integer", 1),
            Column("b", "number", 1),
            Column("c", "text", 2),
            Column("d", "boolean", 1),
            Column("e", "timestamp[ms]", 0),
        ),
    )


SECRET = b"secret-diagnosis"
BAD = {
    "empty": (b"", "empty"),
    "header only": (b"a,b\n", "no rows"),
    "ragged short": (b"a,b\n1,2\n" + SECRET + b"\n", "row 2 has 1 cells"),
    "ragged long": (b"a,b\n1,2,3\n", "row 1 has 3 cells"),
    "bad utf-8": (b"a,b\n1,2\n\xff" + SECRET + b",3\n", "row 2 is not UTF-8"),
    "zero byte": (b"a,b\n1,\x002\n", "byte 6 is zero"),
    "duplicate": (b"a,b,a\n1,2,3\n", "column 3 repeats"),
    "no name": (b"a, ,b\n1,2,3\n", "column 2 has no good name"),
    "control in name": (b"a,b\x1b[31m\n1,2\n", "column 2 has no good name"),
    "long cell": (b"a,b\n1," + b"x" * 70_000 + b"\n", "column 'b'|line 2"),
    "open quote": (b'a,b\n1,"' + SECRET + b"\n", "not CSV"),
    "too many columns": (
        b",".join(b"c%d" % i for i in range(600)) + b"\n" + b",".join([b"1"] * 600),
        "too many columns",
    ),
    "parquet cut": (parquet(a=[1, 2, 3])[:-20], "not a Parquet file"),
    "parquet noise": (b"PAR1" + bytes(range(256)) + b"PAR1", "not a Parquet file"),
    "parquet without rows": (parquet(a=pa.array([], pa.int64())), "no rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed(name: str) -> None:
    table, why = BAD[name]
    with pytest.raises(MalformedTable) as caught:
        profile(table)
    assert any(word in str(caught.value) for word in why.split("|")), str(caught.value)
    assert SECRET.decode() not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_MAX", 2)
    assert profile(b"a\n1\n2\n").rows == 2
    with pytest.raises(MalformedTable, match="too many rows"):
        profile(b"a\n1\n2\n3\n")
    with pytest.raises(MalformedTable, match="too many rows"):
        profile(parquet(a=[1, 2, 3]))
    monkeypatch.setattr(module, "TABLE_BYTES_MAX", 3)
    with pytest.raises(MalformedTable, match="too large"):
        profile(b"a\n1\n2\n")


@given(st.binary(max_size=200))
def test_noise_is_a_profile_or_a_data_error(noise: bytes) -> None:
    for table in (noise, b"a,b\n" + noise, b"PAR1" + noise + b"PAR1"):
        try:
            found = profile(table)
        except DataError:
            continue
        assert found.rows >= 1
        assert all(0 <= column.missing <= found.rows for column in found.columns)
