"""Each kind: what it accepts, what it names, what it is about, and that every field is checked."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from msgspec import inspect

from comity.record import kinds
from comity.record.digest import sha256
from comity.record.errors import MalformedRecord, UnknownKind
from comity.record.kinds import KINDS, Spec, build, references
from support.examples import SPECS, digest

EXAMPLES = pytest.mark.parametrize(("kind", "spec"), SPECS.values(), ids=SPECS)


def structs() -> list[type[Spec]]:
    """Every struct of every kind."""
    return [struct for expected in KINDS.values() for struct in (get_args(expected) or (expected,))]


def test_every_struct_has_an_example() -> None:
    built = {type(build(kind, spec)) for kind, spec in SPECS.values()}
    assert built == set(structs())
    assert {kind for kind, _ in SPECS.values()} == set(KINDS)


@EXAMPLES
def test_round_trip(kind: str, spec: dict[str, Any]) -> None:
    built = build(kind, spec)
    assert kinds.to_json(built) == spec
    assert build(kind, built) == built


@EXAMPLES
def test_references_are_all_record_digests_sorted_and_distinct(kind: str, spec: dict[str, Any]) -> None:
    built = build(kind, spec)
    found = references(built)
    assert found == sorted(set(_named(spec, inspect.type_info(type(built)))))


def _named(value: Any, kind: inspect.Type) -> Iterator[str]:
    """Values of fields that are declared as record digests, found by the declaration and not by `references`."""
    if isinstance(kind, inspect.Metadata):
        if (kind.extra or {}).get("names") == "record":
            yield value
        else:
            yield from _named(value, kind.type)
    elif isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield from _named(value[field.encode_name], field.type)
    elif isinstance(kind, inspect.ListType):
        for item in value:
            yield from _named(item, kind.item_type)
    elif isinstance(kind, inspect.UnionType) and value is not None:
        for option in kind.types:
            yield from _named(value, option)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))


def _changed(spec: dict[str, Any], path: tuple[Any, ...], new: Any) -> dict[str, Any]:
    changed = copy.deepcopy(spec)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return changed


@EXAMPLES
def test_no_field_takes_another_type(kind: str, spec: dict[str, Any]) -> None:
    for path in _paths(spec):
        for wrong in (3.5, b"bytes", object()):
            with pytest.raises(MalformedRecord):
                build(kind, _changed(spec, path, wrong))


@EXAMPLES
def test_no_field_may_be_missing_or_added(kind: str, spec: dict[str, Any]) -> None:
    for name in spec:
        with pytest.raises(MalformedRecord):
            build(kind, {key: value for key, value in spec.items() if key != name})
    with pytest.raises(MalformedRecord, match="unknown field"):
        build(kind, {**spec, "extra": 1})


@EXAMPLES
def test_no_text_hides_a_line_feed_at_its_end(kind: str, spec: dict[str, Any]) -> None:
    """`$` in a pattern would let it through."""
    for path in _paths(spec):
        inner: Any = spec
        for key in path:
            inner = inner[key]
        if isinstance(inner, str) and path[0] != "arguments":
            with pytest.raises(MalformedRecord):
                build(kind, _changed(spec, path, inner + "\n"))


@EXAMPLES
def test_no_list_or_map_is_endless(kind: str, spec: dict[str, Any]) -> None:
    for path in _paths(spec):
        inner: Any = spec
        for key in path:
            inner = inner[key]
        if isinstance(inner, list):
            with pytest.raises(MalformedRecord):
                build(kind, _changed(spec, path, inner * 600))
        elif isinstance(inner, dict) and path[-1] in ("arguments", "outputs", "metrics", "isolation"):
            with pytest.raises(MalformedRecord):
                build(kind, _changed(spec, path, {f"k{number}": next(iter(inner.values())) for number in range(65)}))


@pytest.mark.parametrize(
    ("example", "path", "wrong"),
    [
        ("dataset", ("name",), "Breast"),
        ("dataset", ("name",), "b"),
        ("dataset", ("name",), "b" * 33),
        ("dataset", ("name",), "../x"),
        ("dataset", ("version",), 0),
        ("dataset", ("rows",), -1),
        ("dataset", ("rows",), True),
        ("dataset", ("rows",), "1"),
        ("dataset", ("bytes",), 2**53),
        ("dataset", ("commitment",), "AB" * 32),
        ("dataset", ("purposes",), []),
        ("dataset", ("purposes",), ["research", "research"]),
        ("dataset", ("columns", 1, "name"), "mean radius"),
        ("dataset", ("columns", 0, "name"), "x\x1b[2J"),
        ("dataset", ("columns", 0, "name"), "x\u202e"),
        ("dataset", ("licence",), ""),
        ("dataset", ("licence",), "x" * 256),
        ("grant", ("grantee",), "**"),
        ("grant", ("until",), -1),
        ("task", ("limits", "cpu_s"), 0),
        ("task", ("inputs",), [digest("a"), digest("a")]),
        ("task", ("arguments",), {"": "x"}),
        ("task", ("arguments",), {"../x": "x"}),
        ("study", ("quorum",), 4),
        ("study", ("quorum",), 0),
        ("study", ("roster",), ["lakeside", "lakeside", "riverside"]),
        ("study", ("datasets",), []),
        ("study", ("rounds",), 0),
        ("study", ("privacy",), "some"),
        ("model", ("inputs",), []),
        ("model", ("inputs", 0, "datatype"), "FP128"),
        ("model", ("inputs", 0, "shape"), [-2]),
        ("model", ("format",), "pickle"),
        ("service", ("approvals",), 256),
        ("service", ("time_lock_s",), 2**32),
        ("proposal-deploy", ("action",), "admit"),
        ("proposal-deploy", ("action",), "destroy"),
        ("proposal-deploy", ("previous",), ""),
        ("proposal-admit", ("member", "org"), "0x" + "AA" * 20),
        ("proposal-admit", ("member", "endpoint"), "a b"),
        ("offer", ("price_wei",), "01"),
        ("offer", ("price_wei",), "-1"),
        ("offer", ("price_wei",), "9" * 79),
        ("receipt-task", ("of",), "predictions"),
        ("receipt-task", ("outputs",), {"a/b": digest("x")}),
        ("receipt-task", ("exit",), 256),
        ("receipt-predictions", ("count",), 0),
        ("round", ("metrics",), {"loss": "NaN"}),
        ("round", ("metrics",), {"loss": "1e5"}),
        ("round", ("metrics",), {"loss": ".5"}),
        ("round", ("metrics",), {"loss": "00.5"}),
        ("round", ("index",), 0),
        ("round", ("included",), []),
        ("round", ("refused", 0, "org"), "northfield"),
        ("vote", ("choice",), "maybe"),
        ("vote", ("because",), "x" * 1025),
    ],
)
def test_refused_values(example: str, path: tuple[Any, ...], wrong: Any) -> None:
    kind, spec = SPECS[example]
    build(kind, spec)
    with pytest.raises(MalformedRecord):
        build(kind, _changed(spec, path, wrong))


def test_a_struct_built_by_hand_is_checked() -> None:
    with pytest.raises(MalformedRecord):
        build("app", kinds.App(name="No Slug", version=0, manifest=sha256(b"")))
    with pytest.raises(MalformedRecord):
        build("grant", kinds.App(name="app", version=1, manifest=sha256(b"")))
    with pytest.raises(MalformedRecord):
        build("app", msgspec.structs.replace(kinds.App("app", 1, sha256(b"")), name=object()))


def test_unknown_kind() -> None:
    with pytest.raises(UnknownKind, match="no record kind"):
        build("widget", {})


def test_subjects_by_kind() -> None:
    """The table of docs/records.md section 5."""
    subjects = {name: [*build(kind, spec).subjects()] for name, (kind, spec) in SPECS.items()}
    assert {name: [subject.name for subject in found] for name, found in subjects.items()} == {
        "dataset": ["breast@1"],
        "grant": ["dataset"],
        "task": ["code"],
        "app": ["viewer@2"],
        "study": ["code", "initial"],
        "model": ["artefact", "weights"],
        "service": ["triage"],
        "proposal-deploy": ["model"],
        "proposal-roll-back": ["model"],
        "proposal-admit": ["seaside"],
        "offer": ["gpu"],
        "receipt-task": ["outputs/Plot.png", "outputs/table.csv", "log"],
        "receipt-deployment": ["artefact"],
        "receipt-predictions": ["root"],
        "round": ["aggregate"],
        "evaluation": ["model"],
        "vote": ["proposal"],
        "revocation": ["record"],
    }
    assert subjects["dataset"][0].sha256 == digest("commitment")
    assert subjects["service"][0].sha256 == sha256(b'{"approvals":3,"name":"triage","time_lock_s":5}')
    assert subjects["vote"][0].sha256 == digest("proposal")


def test_a_pattern_is_told_in_words() -> None:
    with pytest.raises(MalformedRecord) as caught:
        kinds.build("service", {"name": "t", "approvals": 1, "time_lock_s": 0})
    assert caught.value.why == "Expected a name (2 to 32 of a-z, 0-9 and -, a letter first) - at `$.name`"
