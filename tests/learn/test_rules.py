"""Aggregation: the same bytes in any order and on any kernel, near the float reference, and deaf to poison."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.learn import exact, fixed, rules
from comity.learn.errors import MalformedWeights, UnfitRule
from comity.learn.rules import Rule, Update

BASE = fixed.encode(fixed.from_floats({"a": np.zeros((3, 4)), "b": np.zeros(5)}))


def blob(a: np.ndarray, b: np.ndarray) -> bytes:
    return fixed.encode(fixed.from_floats({"a": a, "b": b}))


def updates(count: int, seed: int = 0, scale: float = 1.0) -> dict[str, Update]:
    random = np.random.default_rng(seed)
    return {
        f"org-{i:02}": Update(
            int(random.integers(1, 500)), blob(scale * random.normal(size=(3, 4)), scale * random.normal(size=5))
        )
        for i in range(count)
    }


def flat(data: bytes) -> np.ndarray:
    return np.concatenate([array.ravel() for array in fixed.to_floats(fixed.decode(data)).values()])


RULES = [Rule("mean"), Rule("norm-bound", 1), Rule("median", 1), Rule("trimmed-mean", 1), Rule("multi-krum", 1)]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_order_of_arrival_does_not_matter(rule: Rule) -> None:
    given_ = updates(5)
    results = {rules.aggregate(rule, BASE, dict(order)) for order in itertools.permutations(given_.items())}
    assert len(results) == 1


@pytest.mark.parametrize("seed", range(20))
def test_against_a_float_reference(seed: int) -> None:
    given_ = updates(7, seed)
    rows = np.stack([flat(u.blob) for u in given_.values()])
    shares = np.array([u.weight for u in given_.values()], dtype=float)
    distances = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    scores = np.sort(distances, axis=1)[:, 1:5].sum(1)  # n − f − 2 = 4 nearest others, f = 1
    near = np.sort(np.argsort(scores, kind="stable")[:6])
    norms = np.sqrt((rows**2).sum(1))
    clipped = rows * np.minimum(1, np.median(norms) / norms)[:, None]
    expected = {
        "mean": (rows * shares[:, None]).sum(0) / shares.sum(),
        "norm-bound": (clipped * shares[:, None]).sum(0) / shares.sum(),
        "median": np.median(rows, axis=0),
        "trimmed-mean": np.sort(rows, axis=0)[1:-1].mean(0),
        "multi-krum": (rows[near] * shares[near, None]).sum(0) / shares[near].sum(),
    }
    for rule in RULES:
        result = flat(rules.aggregate(rule, BASE, given_).blob)
        assert np.abs(result - expected[rule.name]).max() < 1e-6, rule.name


@pytest.mark.parametrize("attack", ["sign", "noise", "huge"])
@pytest.mark.parametrize(
    "rule",
    [Rule("norm-bound", 2), Rule("median", 2), Rule("trimmed-mean", 2), Rule("multi-krum", 2)],
    ids=lambda r: r.name,
)
def test_robust_rules_survive_poison(rule: Rule, attack: str) -> None:
    random = np.random.default_rng(5)
    honest = {
        f"org-{i:02}": Update(
            100, blob(np.ones((3, 4)) + 0.1 * random.normal(size=(3, 4)), np.ones(5) + 0.1 * random.normal(size=5))
        )
        for i in range(5)
    }
    poison = {"sign": -5.0, "noise": 1e4, "huge": 2.0**30}[attack]
    bad = {f"evil-{i}": Update(100, blob(np.full((3, 4), poison), np.full(5, poison))) for i in range(2)}
    robust = rules.aggregate(rule, BASE, honest | bad)
    assert np.abs(flat(robust.blob) - 1).max() < 0.9
    mean = rules.aggregate(Rule("mean"), BASE, honest | bad)
    assert np.abs(flat(mean.blob) - 1).max() > 1
    if rule.name == "multi-krum":
        assert [r.org for r in robust.refused] == ["evil-0", "evil-1"]


MALFORMED = {
    "garbage": b"not weights",
    "other shape": fixed.encode(fixed.from_floats({"a": np.zeros((4, 3)), "b": np.zeros(5)})),
    "other arrays": fixed.encode(fixed.from_floats({"a": np.zeros((3, 4))})),
    "cut": BASE[:-1],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_bad_update_is_refused_with_a_reason_and_the_rest_goes_on(name: str) -> None:
    given_ = updates(3)
    result = rules.aggregate(Rule("mean"), BASE, given_ | {"org-bad": Update(5, MALFORMED[name])})
    assert result.included == tuple(sorted(given_))
    assert [r.org for r in result.refused] == ["org-bad"]
    assert result.refused[0].because
    assert result.blob == rules.aggregate(Rule("mean"), BASE, given_).blob


@pytest.mark.parametrize("weight", [0, -1, rules.WEIGHT_MAX + 1, True, 1.5])
def test_bad_weights_are_refused(weight: int) -> None:
    result = rules.aggregate(Rule("mean"), BASE, updates(2) | {"x": Update(weight, BASE)})
    assert [r.org for r in result.refused] == ["x"]


def test_what_a_rule_needs() -> None:
    for rule, enough in [
        (Rule("median", 1), 3),
        (Rule("trimmed-mean", 2), 5),
        (Rule("multi-krum", 1), 5),
        (Rule("norm-bound", 1), 3),
    ]:
        rules.check(rule, enough)
        with pytest.raises(UnfitRule):
            rules.check(rule, enough - 1)
    for bad in (Rule("mean", 1), Rule("average"), Rule("median", -1)):
        with pytest.raises(UnfitRule):
            rules.check(bad, 100)
    with pytest.raises(UnfitRule):
        rules.aggregate(Rule("mean"), BASE, {})
    with pytest.raises(MalformedWeights):
        rules.aggregate(Rule("mean"), b"", updates(2))


@pytest.mark.parametrize(
    "rule",
    [Rule("mean"), Rule("multi-krum"), Rule("norm-bound"), Rule("median"), Rule("trimmed-mean")],
    ids=lambda r: r.name,
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_updates_and_no_faults(rule: Rule, count: int) -> None:
    result = rules.aggregate(rule, BASE, updates(count))
    assert len(result.included) == count
    if count == 1:
        assert result.blob == updates(1)["org-00"].blob


def test_equal_updates_come_out_exactly() -> None:
    same = blob(np.full((3, 4), 1 / 3), np.full(5, -(2.0**30)))
    for rule in RULES:
        assert rules.aggregate(rule, BASE, {f"o{i}": Update(7**i, same) for i in range(6)}).blob == same, rule.name


VALUES = st.lists(st.integers(-fixed.MAGNITUDE_MAX, fixed.MAGNITUDE_MAX), min_size=0, max_size=100)


@given(VALUES)
def test_sum_of_squares_is_exact(values: list[int]) -> None:
    assert exact.sum_of_squares(np.array(values, dtype=np.int64)) == sum(v * v for v in values)


@given(VALUES, st.integers(0, 1 << 30))
def test_scale_down_is_exact(values: list[int], ratio: int) -> None:
    assert exact.scale_down(np.array(values, dtype=np.int64), ratio).tolist() == [v * ratio >> 30 for v in values]


@given(st.integers(1, 5), st.integers(1, rules.WEIGHT_MAX), st.data())
def test_weighted_mean_is_exact(count: int, heaviest: int, data: st.DataObject) -> None:
    values = data.draw(
        st.lists(
            st.lists(st.integers(-fixed.MAGNITUDE_MAX, fixed.MAGNITUDE_MAX), min_size=4, max_size=4),
            min_size=count,
            max_size=count,
        )
    )
    weights = data.draw(st.lists(st.integers(1, heaviest), min_size=count, max_size=count))
    result = exact.weighted_mean([np.array(v, dtype=np.int64) for v in values], weights)
    total = sum(weights)
    sums = [sum(w * v[i] for w, v in zip(weights, values, strict=True)) for i in range(4)]
    assert result.tolist() == [(2 * s + total) // (2 * total) for s in sums]


@given(st.integers(1, 1 << 120), st.integers(1, 1 << 120))
def test_ratio_of_roots(a: int, b: int) -> None:
    ratio = exact.ratio_of_roots(a, b)
    assert ratio == 1 << 30 if a >= b else ratio * ratio * b <= a << 60 < (ratio + 1) ** 2 * b


_SCRIPT = """
import hashlib, numpy as np
from comity.learn import fixed, rules
random = np.random.default_rng(1)
base = fixed.encode(fixed.from_floats({"w": np.zeros(5000)}))
blobs = [fixed.encode({"w": random.integers(-2**40, 2**40, 5000)}) for _ in range(7)]
ups = {f"o{i}": rules.Update(i + 1, blob) for i, blob in enumerate(blobs)}
for name, f in [("mean", 0), ("norm-bound", 1), ("median", 1), ("trimmed-mean", 1), ("multi-krum", 1)]:
    print(name, hashlib.sha256(rules.aggregate(rules.Rule(name, f), base, ups).blob).hexdigest())
"""


def test_the_same_bits_on_every_kernel_and_thread_count() -> None:
    kernels = [
        {},
        {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "2"},
        {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX2 FMA3"},
    ]
    source = str(Path(rules.__file__).parents[2])
    seen = set()
    for kernel in kernels:
        environment = {**os.environ, "PYTHONPATH": source, **kernel}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        seen.add(done.stdout)
    assert len(seen) == 1
    assert len(next(iter(seen)).splitlines()) == 5


def test_a_known_result() -> None:
    """A golden value, so that a change of any rule is a change that someone decides."""
    results = [rules.aggregate(rule, BASE, updates(5, seed=42)).blob for rule in RULES]
    assert hashlib.sha256(b"".join(results)).hexdigest() == GOLDEN


GOLDEN = "5c56588710ddbd9a7c2c7c8118222f45079251d6626121e5de3e6bd73102cbfb"
