"""The demo's data: the Wisconsin breast cancer table that ships inside scikit-learn, split unevenly among three hospitals.

Public data (UCI, CC BY 4.0), so that the demo may also do what life may not: pool it, for comparison.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

SPLIT_SEED = 12
HELD_OUT_SHARE = 5
"""One row in five is held out for the common comparison, and belongs to no hospital."""
DIRICHLET = 0.5
ROWS_MIN = 40
STUDY_SEED = 7


@dataclass(frozen=True)
class Tables:
    """Feature names; the common held-out part; and each hospital's rows, as numpy arrays (X: rows × 30, y: rows)."""

    columns: list[str]
    held_out: tuple[Any, Any]
    hospitals: dict[str, tuple[Any, Any]]


def load(hospitals: Sequence[str]) -> Tables:
    """Split 569 rows: a fifth held out, the rest among the hospitals, each class by its own Dirichlet(0.5) draw."""
    import numpy as np
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    columns = [str(name).replace(" ", "_") for name in bunch.feature_names]
    features, labels = bunch.data, bunch.target
    random = np.random.default_rng(SPLIT_SEED)
    order = random.permutation(len(labels))
    held, rest = order[: len(order) // HELD_OUT_SHARE], order[len(order) // HELD_OUT_SHARE :]
    while True:
        parts: list[list[int]] = [[] for _ in hospitals]
        for kind in (0, 1):
            rows = rest[labels[rest] == kind]
            cuts = (np.cumsum(random.dirichlet([DIRICHLET] * len(hospitals))) * len(rows)).astype(int)[:-1]
            for part, chunk in zip(parts, np.split(rows, cuts), strict=True):
                part.extend(chunk.tolist())
        if min(map(len, parts)) >= ROWS_MIN:
            break
    shuffled = [random.permutation(part) for part in parts]
    return Tables(
        columns,
        (features[held], labels[held]),
        {name: (features[part], labels[part]) for name, part in zip(hospitals, shuffled, strict=True)},
    )


def write_csv(path: Path, columns: Sequence[str], features: Any, labels: Any) -> None:
    """One hospital's table, `label` last: 1 is benign, 0 malignant."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "label"])
        writer.writerows([*map(repr, map(float, row)), int(label)] for row, label in zip(features, labels, strict=True))


def accuracy_alone(
    study: ModuleType, columns: list[str], train: tuple[Any, Any], test: tuple[Any, Any], rounds: int
) -> float:
    """What the same code reaches on one table, without anyone else: trained for as many rounds, scored on `test`."""
    weights = study.init(STUDY_SEED, columns)
    for index in range(1, rounds + 1):
        weights = study.train(weights, *train, STUDY_SEED, index)
    return float(study.evaluate(weights, *test)["accuracy"])
