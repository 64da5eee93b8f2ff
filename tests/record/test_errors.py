"""The error trees are drawn at the top of their modules: the drawing holds, and codes tell them apart."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

from comity.record import errors as record_errors
from comity.record.errors import ComityError
from comity.store import errors as store_errors


def _tree(module: ModuleType) -> list[type[ComityError]]:
    found = [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == module.__name__]
    return [value for value in found if issubclass(value, ComityError)]


@pytest.mark.parametrize("module", [record_errors, store_errors], ids=lambda module: module.__name__)
def test_the_drawing_and_the_codes(module: ModuleType) -> None:
    tree = _tree(module)
    assert tree
    for error in tree:
        assert error.__name__ in (module.__doc__ or "")
        assert 0 <= error.exit_code <= 5
    assert len({error.code for error in tree}) == len(tree)


def test_what_why_and_hint() -> None:
    error = ComityError("it broke", why="a reason", hint="a command")
    assert (str(error), error.hint) == ("it broke (a reason)", "a command")
    assert str(ComityError("it broke")) == "it broke"
