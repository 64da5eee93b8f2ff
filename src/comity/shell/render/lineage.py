"""A layered drawing of a lineage: longest-path layers, barycentre order (Sugiyama, Tagawa, Toda 1981), left to right as data flows.

Pure geometry in pixels; the SVG is a template of the console. Long edges run through empty places, so that no line crosses a box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from comity.shell.render import words

NODES_MAX = 300
COLLAPSE_FROM = 4
BOX_WIDTH, BOX_HEIGHT = 156, 42
GAP_X, SLOT, SLOT_EMPTY, MARGIN = 56, 56, 18, 12
SWEEPS = 6


@dataclass(frozen=True)
class Box:
    """A record, or several alike that share a box (`count` > 1). `x`, `y` are its top left corner."""

    digest: str
    kind: str
    title: str
    org: str
    state: str | None
    count: int
    focus: bool
    x: int
    y: int


@dataclass(frozen=True)
class Line:
    """A cubic path in SVG's own notation."""

    path: str
    focus: bool


@dataclass(frozen=True)
class Drawing:
    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


@dataclass
class _Graph:
    nodes: list[str]
    above: dict[str, list[str]] = field(default_factory=dict)
    below: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> _Graph:
        graph = cls(list(nodes), {node: [] for node in nodes}, {node: [] for node in nodes})
        for start, end in dict.fromkeys(edges):
            if start in graph.below and end in graph.above and start != end:
                graph.below[start].append(end)
                graph.above[end].append(start)
        return graph


def draw(lineage: Mapping[str, Any]) -> Drawing:
    """Lay out the API's lineage. At most `NODES_MAX` records are drawn; the rest is left to the table below the picture."""
    focus = str(lineage["focus"])
    briefs = {str(brief["digest"]): brief for brief in list(lineage["nodes"])[:NODES_MAX]}
    edges = [(str(edge["from"]), str(edge["to"])) for edge in lineage["edges"]]
    counts = _collapse(briefs, _Graph.of(list(briefs), edges), focus)
    graph = _Graph.of(list(counts), edges)
    layers, routes = _layers(graph)
    layers = _order(layers, routes)
    places, height = _places(layers, set(counts))
    boxes = tuple(_box(briefs[node], counts[node], focus, places[node]) for node in counts)
    lines = tuple(Line(_path(route, places, set(counts)), focus in (route[0], route[-1])) for route in routes)
    width = 2 * MARGIN + max(0, len(layers) * (BOX_WIDTH + GAP_X) - GAP_X)
    return Drawing(width, height, boxes, lines)


def _collapse(briefs: Mapping[str, Mapping[str, Any]], graph: _Graph, focus: str) -> dict[str, int]:
    """Which records are drawn, and for how many each stands: four or more of a kind with the same neighbours share a box."""
    alike: dict[tuple[Any, ...], list[str]] = {}
    for node in graph.nodes:
        key = (briefs[node]["kind"], tuple(sorted(graph.above[node])), tuple(sorted(graph.below[node])))
        alike.setdefault(key if node != focus else (node,), []).append(node)
    counts: dict[str, int] = {}
    for group in alike.values():
        if len(group) >= COLLAPSE_FROM:
            counts[group[0]] = len(group)
        else:
            counts.update(dict.fromkeys(group, 1))
    return {node: counts[node] for node in graph.nodes if node in counts}


def _depths(graph: _Graph) -> dict[str, int]:
    """The longest way to each node from a source. Members of a cycle, which honest digests cannot make, stay at depth 0."""
    depth = dict.fromkeys(graph.nodes, 0)
    open_ends = {node: len(graph.above[node]) for node in graph.nodes}
    ready = [node for node in graph.nodes if not open_ends[node]]
    for node in ready:
        for follower in graph.below[node]:
            depth[follower] = max(depth[follower], depth[node] + 1)
            open_ends[follower] -= 1
            if not open_ends[follower]:
                ready.append(follower)
    for node in graph.nodes:
        # A source stands next to its first use, not at the far left.
        if not graph.above[node] and graph.below[node]:
            depth[node] = max(0, min(depth[follower] for follower in graph.below[node]) - 1)
    return depth


def _layers(graph: _Graph) -> tuple[list[list[str]], list[list[str]]]:
    """Nodes by layer with empty places for long edges, and each edge as the places that it runs through."""
    depth = _depths(graph)
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in graph.nodes:
        layers[depth[node]].append(node)
    routes = []
    for start in graph.nodes:
        for end in graph.below[start]:
            if depth[end] <= depth[start]:
                continue
            empty = [f"{start}>{end}>{layer}" for layer in range(depth[start] + 1, depth[end])]
            for offset, place in enumerate(empty):
                layers[depth[start] + 1 + offset].append(place)
            routes.append([start, *empty, end])
    return layers, routes


def _order(layers: list[list[str]], routes: Sequence[Sequence[str]]) -> list[list[str]]:
    """Sort each layer by the mean position of its neighbours, sweeping right and left."""
    neighbours: dict[str, tuple[list[str], list[str]]] = {node: ([], []) for layer in layers for node in layer}
    for route in routes:
        for start, end in pairwise(route):
            neighbours[end][0].append(start)
            neighbours[start][1].append(end)
    for sweep in range(SWEEPS):
        side = sweep % 2
        for index in range(len(layers)) if side == 0 else reversed(range(len(layers))):
            position = {node: place for layer in layers for place, node in enumerate(layer)}
            layers[index] = sorted(layers[index], key=lambda node, p=position: _mean(node, neighbours[node][side], p))  # type: ignore[misc]
    return layers


def _mean(node: str, near: Sequence[str], position: Mapping[str, int]) -> tuple[float, int]:
    own = position[node]
    return (sum(position[other] for other in near) / len(near) if near else float(own), own)


def _places(layers: Sequence[Sequence[str]], real: set[str]) -> tuple[dict[str, tuple[int, int]], int]:
    """The left edge and vertical middle of each place, every layer centred, and the height of it all."""
    heights = [sum(SLOT if node in real else SLOT_EMPTY for node in layer) for layer in layers]
    tallest = max(heights, default=0)
    places = {}
    for index, layer in enumerate(layers):
        top = MARGIN + (tallest - heights[index]) // 2
        for node in layer:
            slot = SLOT if node in real else SLOT_EMPTY
            places[node] = (MARGIN + index * (BOX_WIDTH + GAP_X), top + slot // 2)
            top += slot
    return places, tallest + 2 * MARGIN


def _path(route: Sequence[str], places: Mapping[str, tuple[int, int]], real: set[str]) -> str:
    x, y = places[route[0]]
    parts = [f"M{x + BOX_WIDTH} {y}"]
    here = (x + BOX_WIDTH, y)
    for node in route[1:]:
        left, middle = places[node]
        bend = (left - here[0]) // 2
        parts.append(f"C{here[0] + bend} {here[1]} {left - bend} {middle} {left} {middle}")
        here = (left, middle)
        if node not in real:
            parts.append(f"H{left + BOX_WIDTH}")
            here = (left + BOX_WIDTH, middle)
    return "".join(parts)


def _box(brief: Mapping[str, Any], count: int, focus: str, place: tuple[int, int]) -> Box:
    title = words.title(brief) if count == 1 else words.plural(count, str(brief["kind"]))
    return Box(
        str(brief["digest"]), str(brief["kind"]), title, str(brief["org"]) if count == 1 else "", brief["state"], count,
        brief["digest"] == focus, place[0], place[1] - BOX_HEIGHT // 2,
    )  # fmt: skip
