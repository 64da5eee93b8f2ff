"""Statements: one byte form, everything derived is checked, and no bytes but a record's parse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.record import canonical, kinds
from comity.record.digest import sha256
from comity.record.errors import ComityError, MalformedRecord, UnknownKind
from comity.record.record import PAYLOAD_BYTES_MAX, Record, digest, parse, statement
from support.examples import ORG, SPECS
from support.examples import digest as example

EXAMPLES = pytest.mark.parametrize(("kind", "spec"), SPECS.values(), ids=SPECS)
PAYLOADS = [statement(Record.make(kind, ORG, spec)) for kind, spec in SPECS.values()]


@EXAMPLES
def test_round_trip(kind: str, spec: dict[str, Any]) -> None:
    record = Record.make(kind, ORG, spec)
    payload = statement(record)
    assert parse(payload) == record
    assert digest(record) == sha256(payload)
    assert Record.make(kind, ORG, record.spec) == record


@EXAMPLES
def test_it_is_an_in_toto_statement(kind: str, spec: dict[str, Any]) -> None:
    value = json.loads(statement(Record.make(kind, ORG, spec)))
    assert set(value) == {"_type", "subject", "predicateType", "predicate"}
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert value["predicateType"] == f"urn:comity:{kind}:v1"
    assert value["predicate"]["spec"] == spec
    assert value["predicate"]["refs"] == sorted(set(value["predicate"]["refs"]))
    assert value["subject"] and all(set(part) == {"name", "digest"} for part in value["subject"])
    names = [part["name"] for part in value["subject"]]
    assert len(set(names)) == len(names)


def _with(payload: bytes, *path: Any, value: Any) -> bytes:
    statement = json.loads(payload)
    inner = statement
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return canonical.encode(statement)


@pytest.mark.parametrize("payload", PAYLOADS, ids=SPECS)
def test_what_is_derived_cannot_be_forged(payload: bytes) -> None:
    for forged in (
        _with(payload, "subject", value=[]),
        _with(payload, "subject", 0, "name", value="other"),
        _with(payload, "subject", 0, "digest", "sha256", value=example("other")),
        _with(payload, "subject", 0, "digest", "sha512", value=example("other")),
        _with(payload, "predicate", "refs", value=[example("other")]),
        _with(payload, "predicate", "extra", value=1),
        _with(payload, "extra", value=1),
        _with(payload, "_type", value="https://in-toto.io/Statement/v0.1"),
        payload + b"\n",
        b" " + payload,
        payload.replace(b":", b": ", 1),
        payload.replace(b"northfield", b"n\\u006frthfield", 1),
    ):
        with pytest.raises(MalformedRecord):
            parse(forged)


@pytest.mark.parametrize(
    "predicate_type",
    [
        "urn:comity:vote:v2",
        "urn:comity:vote:v01",
        "urn:comity:widget:v1",
        "urn:comity:vote",
        "https://slsa.dev/provenance/v1",
        "",
        3,
        None,
    ],
)
def test_unknown_kind_or_version(predicate_type: Any) -> None:
    payload = statement(Record.make(*("vote", ORG), SPECS["vote"][1]))
    with pytest.raises(UnknownKind):
        parse(_with(payload, "predicateType", value=predicate_type))


@pytest.mark.parametrize("org", ["", "N", "a", "Northfield", "a" * 33, "0ab", "a_b", "ab\n", "ab/..", None, 3])
def test_organisation_names(org: Any) -> None:
    with pytest.raises(MalformedRecord, match="organisation"):
        Record.make("app", org, SPECS["app"][1])


def test_a_record_above_the_limit_is_refused_both_ways() -> None:
    spec = dict(SPECS["task"][1])
    spec["arguments"] = {f"k{number}": "x" * 4096 for number in range(15)}
    payload = statement(Record.make("task", ORG, spec))
    assert len(payload) <= PAYLOAD_BYTES_MAX
    spec["arguments"]["last"] = "x" * 4096
    with pytest.raises(MalformedRecord, match="too large"):
        Record.make("task", ORG, spec)
    with pytest.raises(MalformedRecord, match="too large"):
        parse(payload + b" " * PAYLOAD_BYTES_MAX)


def test_a_lone_surrogate_in_a_text_is_refused() -> None:
    with pytest.raises(MalformedRecord):
        Record.make("vote", ORG, {**SPECS["vote"][1], "because": "\ud800"})


@given(st.binary(max_size=300))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    with pytest.raises(ComityError):
        parse(data)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abz_", max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(list(SPECS)), JSON, st.data())
def test_any_change_in_a_spec_is_a_record_or_refused(name: str, junk: Any, data: st.DataObject) -> None:
    kind, spec = SPECS[name]
    field = data.draw(st.sampled_from(sorted(spec)))
    try:
        record = Record.make(kind, ORG, {**spec, field: junk})
    except ComityError:
        return
    assert parse(statement(record)) == record


@given(st.sampled_from(PAYLOADS), st.data())
def test_any_flipped_byte_changes_the_record_or_is_refused(payload: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(payload) - 1))
    changed = bytearray(payload)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        record = parse(bytes(changed))
    except ComityError:
        return
    assert statement(record) == bytes(changed) != payload


@given(st.sampled_from(list(kinds.KINDS)), st.text(max_size=40), JSON)
def test_make_refuses_junk(kind: str, org: str, junk: Any) -> None:
    with pytest.raises(ComityError):
        Record.make(kind, org, junk)
