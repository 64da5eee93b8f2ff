"""Every command, setting, route and error code is documented; every page is reachable and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import reference

from comity.shell.cli.table import COMMANDS
from support.places import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ROUTE = re.compile(r'"(GET|POST|PUT|DELETE)",\s*"(/[^"]*)"|Route\(\s*"(/[^"]+)"')


@pytest.mark.parametrize("name", reference.PAGES)
def test_generated_pages_are_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == reference.PAGES[name](), "run `make reference`"


def test_every_error_has_a_code_of_its_own_and_a_known_exit() -> None:
    reference.import_all()
    kinds = reference.error_classes()
    assert len(kinds) > 20
    for kind in kinds:
        assert re.fullmatch(r"[a-z][a-z0-9-]*", kind.code), kind
        assert kind.exit_code in reference.EXITS, kind
        assert (kind.__doc__ or "").strip(), f"{kind} does not say what it means"


def test_every_command_is_documented() -> None:
    page = (DOCS / "cli.md").read_text()
    missing = [command.name for command in COMMANDS if f"comity {command.name}" not in page]
    assert not missing
    options = {argument.name for command in COMMANDS for argument in command.arguments if argument.is_option}
    assert not [option for option in sorted(options) if option.removeprefix("--") not in page]


def normal(path: str) -> str:
    """A route's path with its parameters unnamed: `/records/{ref:path}?q=` → `/records/{}`."""
    return re.sub(r"\{[^}]*\}", "{}", path.partition("?")[0]).rstrip("/") or "/"


def routes() -> set[str]:
    """Every path that the node's source mounts. Read as text, so that none needs a running node."""
    found = set()
    for path in sorted((ROOT / "src/comity/node").rglob("*.py")):
        for match in ROUTE.finditer(path.read_text()):
            found.add(normal(match[2] or match[3]))
    return found


def test_every_route_is_documented() -> None:
    page = re.sub(r"\{[^}\s]*\}", "{}", (DOCS / "api.md").read_text())
    known = routes()
    assert len(known) > 30
    assert not sorted(path for path in known if not re.search(re.escape(path) + r"(?![\w{])", page))


def links(page: Path) -> list[str]:
    """The targets of a page's links, blocks of code left out."""
    return LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    local = [link.partition("#")[0] for link in links(page) if not link.startswith(("http://", "https://", "#"))]
    assert not [link for link in local if not (page.parent / link).exists()]


def test_every_page_is_reachable_from_the_index() -> None:
    seen: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        local = [link.partition("#")[0] for link in links(page) if not link.startswith(("http", "#"))]
        todo += [target for link in local if (target := (page.parent / link).resolve()).is_file()]
    assert not [str(page.relative_to(ROOT)) for page in PAGES if page not in seen]


def test_every_make_target_is_explained_and_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (\S+)", makefile, re.MULTILINE)) - {"runtime"}
    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert phony == explained
    said = {word for page in PAGES for word in re.findall(r"`make ([a-z]+)", page.read_text())}
    assert said <= phony
