"""The house rules that a linter has no rule for: lengths, docstrings, words, machine paths, public names.

Each check is a function over text, so that it can be shown to fail.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.places import ROOT

MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
DOCSTRING_LINES_MAX = 6
TEXT_BYTES_MAX = 2 << 20

# Assembled, so that this file does not hold what it looks for.
WORDS = {
    "unfinished": re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b"),
    "runs data as code": re.compile(
        r"^\s*(import|from)\s+(pickle|marshal|shelve|joblib|dill|cloudpickle)\b"
        r"|(?<![\w.])(eval|exec)\("
        r"|\byaml\.(load|unsafe_load|full_load)\("
        r"|\ballow_pickle\s*=\s*True",
        re.MULTILINE,
    ),
    "not implemented": re.compile("raise Not" + "ImplementedError"),
}
MACHINE = {
    "a path of one machine": re.compile(
        r"(?<![\w.])/(" + "|".join(("ho" + "me", "ro" + "ot", "wo" + "rk", "op" + "t")) + r")/\w"
    ),
    "a registry's host": re.compile("|".join(("py" + r"pi\.org", "python" + r"hosted\.org", "npm" + r"js\.(org|com)"))),
    "an index setting": re.compile("|".join(("(?<!emit-)index" + "-url", "find" + "-links ", '"resol' + 'ved"'))),
}
SPARED = {
    "tests/quality/test_source.py": "holds the list",
    "src/comity/learn/worker.py": "runs a study's code: that is its work, and why it lives in the sandbox",
    "tests/learn/test_work.py": "plays that worker",
    "tests/record/test_keys.py": "shows that a key refuses to be pickled",
}
GENERATED = {"requirements/dev.txt", "requirements/runtime.txt"}


def tracked() -> list[Path]:
    """Every file that git knows and that is there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def texts() -> Iterator[tuple[str, str]]:
    """(name, text) of each tracked text file of a sane size."""
    for path in tracked():
        if path.stat().st_size <= TEXT_BYTES_MAX:
            data = path.read_bytes()
            if b"\0" not in data:
                yield str(path.relative_to(ROOT)), data.decode("utf-8", errors="replace")


def modules() -> list[tuple[str, str]]:
    """The Python files among them."""
    return [(name, text) for name, text in texts() if name.endswith(".py")]


def long_functions(text: str) -> list[str]:
    """Functions over the wall, counted from `def` to the last line, docstring left out."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = node.body[0] if ast.get_docstring(node) is not None else None
        spared = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
        length = (node.end_lineno or 0) - node.lineno + 1 - spared
        if length > FUNCTION_LINES_MAX:
            found.append(f"{node.name} at line {node.lineno}: {length} lines")
    return found


def docstring_fault(text: str) -> str:
    """Why a module's docstring is not what it should be, or nothing."""
    if not text.strip():
        return ""
    docstring = ast.get_docstring(ast.parse(text), clean=True)
    if docstring is None:
        return "no module docstring"
    lines = docstring.splitlines()
    # A tree of exceptions (errors.py) or a command line is drawn as an indented block after the sentences: it is not counted.
    prose = [line for line in lines if line.strip() and not line.startswith((" ", "├", "└", "│"))]
    return f"{len(prose)} lines" if len(prose) > DOCSTRING_LINES_MAX else ""


def failures(found: dict[str, str] | list[str]) -> str:
    """One a line."""
    return (
        "\n" + "\n".join(f"{key}: {why}" for key, why in found.items())
        if isinstance(found, dict)
        else "\n" + "\n".join(found)
    )


def test_no_module_passes_the_wall() -> None:
    over = {name: f"{n} lines" for name, text in modules() if (n := len(text.splitlines())) > MODULE_LINES_MAX}
    assert not over, failures(over)


def test_no_function_passes_the_wall() -> None:
    over = {name: "; ".join(found) for name, text in modules() if (found := long_functions(text))}
    assert not over, failures(over)


def test_every_module_says_what_it_is() -> None:
    silent = {
        name: fault
        for name, text in modules()
        if name.startswith(("src/", "tests/", "scripts/", "benchmarks/")) and (fault := docstring_fault(text))
    }
    assert not silent, failures(silent)


def _hits(patterns: dict[str, re.Pattern[str]], files: Iterator[tuple[str, str]]) -> list[str]:
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match.group().strip()}"
        for name, text in files
        for what, pattern in patterns.items()
        for match in pattern.finditer(text)
    ]


def test_no_forbidden_words() -> None:
    found = _hits(WORDS, ((name, text) for name, text in modules() if name not in SPARED))
    assert not found, failures(found)


def test_nothing_of_one_machine_is_tracked() -> None:
    found = _hits(MACHINE, ((name, text) for name, text in texts() if name != "tests/quality/test_source.py"))
    assert not found, failures(found)


def test_locks_hold_only_pins_and_hashes() -> None:
    line = re.compile(r"#.*|[\w.-]+==[\w.!+-]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    for name in GENERATED:
        odd = [text for text in (ROOT / name).read_text().splitlines() if not line.fullmatch(text)]
        assert not odd, (name, odd[:3])
        assert "torch==" not in (ROOT / name).read_text()


def test_public_names_are_those_listed() -> None:
    import comity

    assert comity.__all__ == sorted(comity.__all__)
    for name in comity.__all__:
        assert getattr(comity, name) is not None
    public = {name for name in dir(comity) if not name.startswith("_") or name == "__version__"}
    assert public == set(comity.__all__)


def test_version_stands_once() -> None:
    import tomllib

    import comity

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == comity.__version__


@pytest.mark.parametrize(
    ("check", "bad", "good"),
    [
        (long_functions, "def f():\n" + "    x = 1\n" * 71, "def f():\n" + "    x = 1\n" * 69),
        (docstring_fault, "import os\n", '"""What it is.\n\nA  tree\n├── one\n└── two\n"""\n'),
        (docstring_fault, '"""' + "line\n" * 7 + '"""', ""),
    ],
)
def test_the_checks_can_fail(check: object, bad: str, good: str) -> None:
    assert callable(check)
    assert check(bad)
    assert not check(good)


@pytest.mark.parametrize(
    "line", ["import pickle", "x = eval(y)", "yaml.load(f)", "np.load(f, allow_pickle=True)", "# TO" + "DO: later"]
)
def test_the_word_list_can_fail(line: str) -> None:
    assert _hits(WORDS, iter([("x.py", line)]))


@pytest.mark.parametrize("line", ["model.eval()", "re.compile(x)", "literal_eval(x)", "retrieval(x)"])
def test_the_word_list_spares_the_innocent(line: str) -> None:
    assert not _hits(WORDS, iter([("x.py", line)]))
