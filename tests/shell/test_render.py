"""Words, tables, drawings and tensors hold for any input that a node or a file may bring."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.record.errors import ComityError
from comity.shell import tensors
from comity.shell.errors import ShellError, from_answer
from comity.shell.render import lineage, words
from comity.shell.render.chart import chart
from comity.shell.render.talk import Talk, bar, table
from comity.shell.wire import Answer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_sizes_and_spans() -> None:
    assert [words.size(n) for n in (0, 999, 1000, 41288, 99_500, 999_499, 999_500, 10**15)] == [
        "0 B", "999 B", "1.0 kB", "41.3 kB", "100 kB", "999 kB", "1.0 MB", "1000 TB",
    ]  # fmt: skip
    assert [words.span(n) for n in (-1, 0, 59, 60, 190, 3600, 180_000)] == [
        "0 s",
        "0 s",
        "59 s",
        "1 min",
        "3 min 10 s",
        "1 h",
        "2 d 2 h",
    ]
    assert words.clock(0) == "1970-01-01 00:00:00 UTC"
    assert (words.clock(10**18), words.clock("now"), words.listed(["a", "b", "c"]), words.listed([])) == (
        "?",
        "?",
        "a, b and c",
        "",
    )


def test_colour_needs_a_terminal_and_leave() -> None:
    for environment, out, coloured in (
        ({}, Terminal(), True),
        ({"NO_COLOR": "1"}, Terminal(), False),
        ({}, io.StringIO(), False),
    ):
        talk = Talk(out=out, err=out, environment=environment)
        talk.line(talk.paint("✓ ok", "good"))
        assert out.getvalue() == ("\x1b[32m✓ ok\x1b[0m\n" if coloured else "✓ ok\n")


@given(st.text())
def test_no_text_controls_the_terminal(text: str) -> None:
    out = Terminal()
    talk = Talk(out=out, err=out, environment={"NO_COLOR": "1"})
    talk.line(text)
    talk.say(text)
    talk.error(ComityError(text, why=text, hint=text))
    assert all(line.isprintable() for line in out.getvalue().split("\n"))
    assert out.getvalue().count("\n") == (4 if text else 3)


@given(st.lists(st.lists(st.text(), max_size=4), max_size=6), st.integers(), st.integers())
def test_tables_and_bars(rows: list[list[str]], done: int, total: int) -> None:
    assert len(table(rows)) == len(rows)
    assert len(bar(done, total)) == 16


@given(JSON)
def test_any_error_becomes_a_shell_error(value: object) -> None:
    assert isinstance(from_answer(value), ShellError)


@given(st.integers(1, 40), st.data())
def test_any_lineage_is_drawn_without_overlap(count: int, data: st.DataObject) -> None:
    names = [f"{n:064x}" for n in range(count)]
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(names))
    edges = data.draw(st.lists(pairs, max_size=80))
    nodes: list[dict[str, object]] = [
        {"digest": name, "kind": "vote" if n % 3 else "task", "org": "a", "state": None, "spec": {}}
        for n, name in enumerate(names)
    ]
    drawing = lineage.draw({"focus": names[0], "nodes": nodes, "edges": [{"from": a, "to": b} for a, b in edges]})
    assert sum(box.count for box in drawing.boxes) == count
    assert sum(box.focus for box in drawing.boxes) == 1
    places = sorted((box.x, box.y) for box in drawing.boxes)
    for (x, y), (other_x, other_y) in pairwise(places):
        assert other_x > x or other_y >= y + lineage.BOX_HEIGHT
    for x, y in places:
        assert 0 <= x <= drawing.width - lineage.BOX_WIDTH
        assert 0 <= y <= drawing.height - lineage.BOX_HEIGHT
    again = lineage.draw({"focus": names[0], "nodes": nodes, "edges": [{"from": a, "to": b} for a, b in edges]})
    assert again == drawing


def test_data_flows_right_and_the_cap_holds() -> None:
    names = [f"{n:064x}" for n in range(500)]
    nodes = [{"digest": name, "kind": "round", "org": "a", "state": None, "spec": {"index": 1}} for name in names]
    edges = [{"from": a, "to": b} for a, b in pairwise(names)]
    drawing = lineage.draw({"focus": names[0], "nodes": nodes, "edges": edges})
    assert len(drawing.boxes) == lineage.NODES_MAX
    assert [box.x for box in drawing.boxes] == sorted(box.x for box in drawing.boxes)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats()), max_size=20))
def test_any_chart(points: list[tuple[int, float]]) -> None:
    drawn = chart(sorted(points, key=lambda point: point[0]))
    assert drawn is None or drawn.line.startswith("M")


METADATA = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], "parameters": {"features": ["a", "b"]}}


def test_rows_become_a_request() -> None:
    wanted = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2.5]}
    for inputs in ([1, 2.5], [[1, 2.5]], {"b": 2.5, "a": 1}, [{"b": 2.5, "a": 1}]):
        assert tensors.request(inputs, METADATA) == {"inputs": [wanted]}
    assert tensors.request({"inputs": []}, {}) == {"inputs": []}


@pytest.mark.parametrize(
    "inputs",
    [
        "x",
        1,
        None,
        [],
        [[]],
        [[1], [1, 2]],
        [1, "2"],
        [1, True],
        [float("nan"), 1],
        {"a": 1},
        {"a": 1, "b": 2, "c": 3},
        [[1, 2], 3],
        [[1], {}],
    ],
)
def test_what_is_no_row_is_refused(inputs: object) -> None:
    with pytest.raises(ShellError):
        tensors.request(inputs, METADATA)
    with pytest.raises(ShellError):
        tensors.request({"a": 1, "b": 2}, {**METADATA, "parameters": {}})


ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "parameters": JSON | st.just({"receipt": "f3a9"}),
        "outputs": JSON
        | st.lists(st.fixed_dictionaries({"name": JSON, "data": JSON, "shape": JSON | st.lists(st.integers(-2, 3))})),
        "error": JSON,
    },
)
MODELS = st.fixed_dictionaries(
    {},
    optional={
        "inputs": JSON
        | st.just(METADATA["inputs"])
        | st.lists(st.dictionaries(st.sampled_from(["name", "datatype"]), JSON), max_size=2),
        "parameters": JSON | st.fixed_dictionaries({"features": JSON}),
    },
)


@given(JSON | st.lists(st.floats(), max_size=3), MODELS, ANSWERS, st.sampled_from([200, 404, 500]))
def test_any_inputs_and_answers_end_in_our_errors(
    inputs: object, model: dict[str, object], body: object, status: int
) -> None:
    with suppress(ShellError):
        tensors.request(inputs, model)
    with suppress(ShellError):
        tensors.response(tensors.answered(Answer(status, {}, json.dumps(body).encode())))
