"""A line chart of one number per round, as geometry for an SVG template. Pure; its numbers stand beside it in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 180
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 24
POINTS_MAX = 2000


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """`line` is an SVG path; `last` the place of the newest point; ticks carry their pixel and their text."""

    line: str
    last: tuple[float, float]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


def chart(points: Sequence[tuple[int, float]]) -> Chart | None:
    """A chart of (round, value) in order of round; None for fewer than two. The vertical axis begins at zero."""
    shown = [(x, y) for x, y in points[-POINTS_MAX:] if y == y and abs(y) != float("inf")]
    if len(shown) < 2:
        return None
    first, final = shown[0][0], shown[-1][0]
    low, high = min(0.0, *(y for _, y in shown)), max(y for _, y in shown)
    high = high if high > low else low + 1.0

    def across(x: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (x - first) / max(1, final - first), 1)

    def up(y: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - low) / (high - low), 1)

    places = [(across(x), up(y)) for x, y in shown]
    line = "M" + "L".join(f"{x} {y}" for x, y in places)
    marks = sorted({first, final, *(first + (final - first) * n // 4 for n in (1, 2, 3))})
    levels = [low + (high - low) * n / 4 for n in range(5)]
    return Chart(
        line, places[-1], tuple(Tick(across(x), str(x)) for x in marks), tuple(Tick(up(y), f"{y:.2f}") for y in levels)
    )
