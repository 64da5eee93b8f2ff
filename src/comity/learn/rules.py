"""Aggregation rules over int64 fixed-point updates: any validator re-executes them and gets the same bytes.

Updates are taken in ascending order of organisation name, whatever order they came in. Every value is rounded to the
nearest 2^-24 once, ties upward. Not training, which is local and is not claimed to be reproducible: see `worker`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from comity.learn import exact, fixed
from comity.learn.errors import MalformedWeights, UnfitRule
from comity.learn.fixed import Integers, Weights

UPDATES_MAX = 256
WEIGHT_MAX = (1 << 40) - 1
NORM_RATIO_MAX = 64
"""`norm-bound` refuses, rather than clips, an update whose distance from the base exceeds this many medians."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A study's rule: its name, and `f`, the number of dishonest updates that it must bear."""

    name: str
    f: int = 0


@dataclass(frozen=True, slots=True)
class Update:
    """What an organisation revealed: weight in training rows, and the blob of its new weights."""

    weight: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    org: str
    because: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The round's outcome. `included` and `refused` are ascending by name and together name every update."""

    blob: bytes
    included: tuple[str, ...]
    refused: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    org: str
    weight: int
    values: Integers
    """All arrays of the update, flattened and joined in ascending order of array name."""


def check(rule: Rule, updates: int) -> None:
    """Raise `UnfitRule` when `updates` updates are too few for the rule. A study's quorum must pass this."""
    if rule.name not in _RULES:
        raise UnfitRule(f"no aggregation rule {rule.name!r}", hint=f"one of {', '.join(sorted(_RULES))}")
    if not 0 <= rule.f <= UPDATES_MAX:
        raise UnfitRule("f must be a small number, 0 or more", why=str(rule.f))
    need = {
        "mean": 1,
        "norm-bound": 1 if rule.f == 0 else 2 * rule.f + 1,
        "median": 2 * rule.f + 1,
        "trimmed-mean": 2 * rule.f + 1,
        "multi-krum": 1 if rule.f == 0 else 2 * rule.f + 3,
    }[rule.name]
    if rule.name == "mean" and rule.f:
        raise UnfitRule("the mean bears no dishonest update", hint="set f to 0, or choose a robust rule")
    if updates < need:
        raise UnfitRule(f"{rule.name} with f = {rule.f} needs {need} updates", why=f"{updates} at hand")


def aggregate(rule: Rule, base: bytes, updates: Mapping[str, Update]) -> Aggregate:
    """Aggregate `updates` (by organisation) of the weights blob `base` into the next weights blob.

    An update that is malformed, of another shape, or out of bounds is refused with its reason and the round goes on.
    Raises `UnfitRule` when too few sound updates remain, `MalformedWeights` when `base` itself is not a weights blob.
    """
    if len(updates) > UPDATES_MAX:
        raise UnfitRule("too many updates", why=f"{len(updates)}, limit {UPDATES_MAX}")
    start = fixed.decode(base)
    rows: list[_Row] = []
    refused: dict[str, str] = {}
    for org in sorted(updates):
        try:
            rows.append(_row(org, updates[org], start))
        except MalformedWeights as error:
            refused[org] = str(error)
    check(rule, len(rows))
    values, left_out = _RULES[rule.name](rule, _flatten(start), rows)
    refused.update(left_out)
    return Aggregate(
        blob=fixed.encode(_unflatten(values, start)),
        included=tuple(row.org for row in rows if row.org not in refused),
        refused=tuple(Refusal(org, refused[org]) for org in sorted(refused)),
    )


def _row(org: str, update: Update, base: Weights) -> _Row:
    if type(update.weight) is not int or not 1 <= update.weight <= WEIGHT_MAX:
        raise MalformedWeights("weight is not a positive number of rows", why=str(update.weight)[:40])
    weights = fixed.decode(update.blob)
    if list(weights) != list(base):
        raise MalformedWeights("update does not hold the arrays of the base")
    for name, array in weights.items():
        if array.shape != base[name].shape:
            raise MalformedWeights(f"array {name!r} has shape {array.shape}, the base has {base[name].shape}")
    return _Row(org, update.weight, _flatten(weights))


def _flatten(weights: Weights) -> Integers:
    return np.concatenate([weights[name].ravel() for name in sorted(weights)])


def _unflatten(values: Integers, shape: Weights) -> Weights:
    weights: Weights = {}
    offset = 0
    for name in sorted(shape):
        size = shape[name].size
        weights[name] = values[offset : offset + size].reshape(shape[name].shape)
        offset += size
    return weights


_Result = tuple[Integers, dict[str, str]]


def _mean(_rule: Rule, _base: Integers, rows: list[_Row]) -> _Result:
    """FedAvg: the mean weighted by training rows (McMahan et al. 2017, Algorithm 1)."""
    return exact.weighted_mean([row.values for row in rows], [row.weight for row in rows]), {}


def _norm_bound(_rule: Rule, base: Integers, rows: list[_Row]) -> _Result:
    """The weighted mean of steps from the base, each clipped to the (lower) median length (Sun et al. 2019, §4)."""
    steps = [row.values - base for row in rows]
    squares = [exact.sum_of_squares(step) for step in steps]
    bound = sorted(squares)[(len(squares) - 1) // 2]
    refused: dict[str, str] = {}
    kept: list[Integers] = []
    weights: list[int] = []
    for row, step, square in zip(rows, steps, squares, strict=True):
        if square > bound * NORM_RATIO_MAX**2:
            refused[row.org] = f"step is more than {NORM_RATIO_MAX} times the median step"
            continue
        kept.append(step if square <= bound else exact.scale_down(step, exact.ratio_of_roots(bound, square)))
        weights.append(row.weight)
    return base + exact.weighted_mean(kept, weights), refused


def _median(_rule: Rule, _base: Integers, rows: list[_Row]) -> _Result:
    """The coordinate-wise median, unweighted: a claimed weight buys no influence (Yin et al. 2018, Definition 1)."""
    ordered = np.sort(np.stack([row.values for row in rows]), axis=0)
    low, high = ordered[(len(rows) - 1) // 2], ordered[len(rows) // 2]
    return (low + high + 1) >> 1, {}


def _trimmed_mean(rule: Rule, _base: Integers, rows: list[_Row]) -> _Result:
    """The coordinate-wise mean without the `f` smallest and `f` largest, unweighted (Yin et al. 2018, Definition 2)."""
    ordered = np.sort(np.stack([row.values for row in rows]), axis=0)
    kept = list(ordered[rule.f : len(rows) - rule.f])
    return exact.weighted_mean(kept, [1] * len(kept)), {}


def _multi_krum(rule: Rule, _base: Integers, rows: list[_Row]) -> _Result:
    """The weighted mean of the n−f updates nearest to their n−f−2 neighbours (Blanchard et al. 2017, §4; ties by name)."""
    count = len(rows)
    distance = [[0] * count for _ in rows]
    for i in range(count):
        for j in range(i):
            distance[i][j] = distance[j][i] = exact.sum_of_squares(rows[i].values - rows[j].values)
    near = max(count - rule.f - 2, 1)  # f = 0 is allowed from one update on, where the paper's neighbourhood is empty
    scores = [sum(sorted(distance[i][:i] + distance[i][i + 1 :])[:near]) for i in range(count)]
    chosen = sorted(sorted(range(count), key=lambda i: (scores[i], i))[: count - rule.f])
    refused = {
        row.org: f"farther from the others than the {count - rule.f} kept (multi-krum, f = {rule.f})"
        for i, row in enumerate(rows)
        if i not in chosen
    }
    kept = [rows[i] for i in chosen]
    return exact.weighted_mean([row.values for row in kept], [row.weight for row in kept]), refused


_RULES: dict[str, Callable[[Rule, Integers, list[_Row]], _Result]] = {
    "mean": _mean,
    "median": _median,
    "multi-krum": _multi_krum,
    "norm-bound": _norm_bound,
    "trimmed-mean": _trimmed_mean,
}
NAMES = tuple(sorted(_RULES))
