"""The template environment: everything escaped, undefined is an error, and the words of `render.words` as filters."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path

import jinja2

from comity.record.types import short
from comity.shell.cli.decide import proposal_sentence, study_sentence
from comity.shell.cli.table import KINDS
from comity.shell.render import words

JSON_CHARACTERS_MAX = 200_000


def pretty(value: object) -> str:
    """JSON for reading, cut where nobody reads on."""
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
    return text if len(text) <= JSON_CHARACTERS_MAX else text[:JSON_CHARACTERS_MAX] + "\n…"


def iso(seconds: object) -> str:
    """A unix time for `<time datetime>`."""
    if not isinstance(seconds, int) or not 0 <= seconds < 253402300800:
        return ""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_digest(value: object) -> bool:
    """Whether a value looks like the name of a record or blob."""
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def environment() -> jinja2.Environment:
    """Jinja with our filters. `StrictUndefined`: a field that the API does not send must not look like an empty one."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        title=words.title, full_title=words.full_title, summary=words.summary, tone=words.tone, clock=words.clock,
        span=words.span, size=words.size, score=words.score, listed=words.listed, plural=words.plural,
        short=short, pretty=pretty, iso=iso,
    )  # fmt: skip
    made.tests["digest"] = is_digest
    made.tests["mapping_or_list"] = lambda value: isinstance(value, Mapping | list)
    made.globals.update(
        icons=words.ICONS, kinds=KINDS, study_sentence=study_sentence, proposal_sentence=proposal_sentence
    )
    return made
