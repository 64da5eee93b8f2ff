"""The examples in docs/api.md have the shapes that the shell is tested with."""

from __future__ import annotations

import pytest

from comity.shell.sdk import Client
from comity.shell.wire import Connection
from support.fake_node import TOKEN, FakeNode
from support.shapes import difference, examples

PLACES = {
    "/api/v1/records/{ref}": "/api/v1/records/breast-deep", "/api/v1/lineage/{ref}": "/api/v1/lineage/triage",
    "/api/v1/studies/{ref}": "/api/v1/studies/breast-mlp", "/api/v1/tasks/{ref}": "/api/v1/tasks/977ed0efe7e6",
    "/api/v1/ledger/{height}": "/api/v1/ledger/9",
}  # fmt: skip
READS = [(route, data) for route, data in examples() if route.startswith("GET /api") and "export" not in route]


@pytest.mark.parametrize(("route", "data"), READS, ids=[route for route, _ in READS])
def test_an_example_is_what_is_served(route: str, data: object, node: FakeNode) -> None:
    path = route.removeprefix("GET ").partition("?")[0]
    if path == "/api/v1/proposals/{ref}":
        path = f"/api/v1/proposals/{node.world.of('proposal')[0]['digest']}"
    served = Connection(node.url, TOKEN).get(PLACES.get(path, path))
    assert difference(data, served) == ""


def test_a_difference_is_found() -> None:
    assert difference({"a": [{"b": 1}]}, {"a": [{"b": 1}, {"b": "1"}]}) == "data.a[1].b: str, not int"
    assert difference({"a": 1}, {"a": 1, "c": 2}) == "data: keys ['c'] on one side only"
    assert difference("@brief", {"digest": ""}).startswith("data: keys")


def test_there_are_examples_for_every_route_that_the_shell_reads(node: FakeNode) -> None:
    assert len(READS) >= 14
    assert Client.connect(url=node.url, token=TOKEN).status().org == "northfield"
