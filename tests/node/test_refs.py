"""References among several organisations: one's own first, then what is unique, and never a guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.ledger.view import View
from comity.node.errors import Conflict, NotFound
from comity.node.refs import NAMED_KINDS, REF_CHARACTERS_MAX, resolve
from comity.record.types import Digest
from support.consortium import ORGS, Consortium

N, R, L, H = ORGS


@pytest.fixture(scope="module")
def world() -> tuple[View, dict[str, Digest]]:
    c = Consortium()
    made = {
        "ours": c.dataset(N),
        "theirs": c.dataset(R),
        "theirs2": c.dataset(R, version=2, rows=7),
        "unique": c.dataset(L, name="lungs"),
        "twin-r": c.dataset(R, name="twin"),
        "twin-l": c.dataset(L, name="twin"),
        "service": c.service("breast"),
    }
    return c.view, made


@pytest.mark.parametrize(
    ("ref", "org", "kinds", "found"),
    [
        ("breast", N, ("dataset",), "ours"),
        ("breast", R, (), "theirs2"),
        ("breast@1", R, (), "theirs"),
        ("riverside/breast", N, (), "theirs2"),
        ("riverside/breast@1", N, (), "theirs"),
        ("northfield/breast", R, ("dataset",), "ours"),
        ("lungs", N, (), "unique"),
        ("lungs", N, ("dataset",), "unique"),
        ("breast", H, ("service",), "service"),
        ("lakeside/twin", N, (), "twin-l"),
    ],
)
def test_who_asks_decides(
    world: tuple[View, dict[str, Digest]], ref: str, org: str, kinds: tuple[str, ...], found: str
) -> None:
    assert resolve(world[0], ref, org=org, kinds=kinds).digest == world[1][found]


def test_prefixes(world: tuple[View, dict[str, Digest]]) -> None:
    view, made = world
    for digest in made.values():
        assert resolve(view, digest[:12], org=N).digest == digest
        assert resolve(view, digest, org=N).digest == digest
        with pytest.raises(NotFound):
            resolve(view, digest[:3], org=N)
        with pytest.raises(NotFound):
            resolve(view, digest, org=N, kinds=("study",))


@pytest.mark.parametrize(
    ("ref", "org", "candidates"),
    [("breast", N, ("ours", "service")), ("twin", N, ("twin-r", "twin-l")), ("breast", H, None)],
)
def test_what_is_not_unique_is_not_guessed(
    world: tuple[View, dict[str, Digest]], ref: str, org: str, candidates: tuple[str, ...] | None
) -> None:
    view, made = world
    with pytest.raises(Conflict) as caught:
        resolve(view, ref, org=org)
    for name in candidates or ("ours", "theirs2", "service"):
        assert made[name][:12] in caught.value.why
    assert made["theirs"][:12] not in caught.value.why, "an older version is no candidate"


@given(
    ref=st.text(max_size=REF_CHARACTERS_MAX + 5), org=st.sampled_from(ORGS), kind=st.sampled_from(["", *NAMED_KINDS])
)
def test_whatever_else_is_not_found(ref: str, org: str, kind: str) -> None:
    empty = View(())
    with pytest.raises(NotFound) as caught:
        resolve(empty, ref, org=org, kinds=(kind,) if kind else ())
    assert caught.value.hint
    assert len(caught.value.what) < REF_CHARACTERS_MAX + 40
