"""Which node a person means, and the token for it: `$COMITY_HOME/<org>/credentials.json`, written by `init`, `join` and `dev`.

The token is read here and put into a header in `wire`; it is never in argv, a log or an error.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from comity.shell.errors import NoCredentials

CREDENTIALS_BYTES_MAX = 64 * 1024
ORG = re.compile(r"[a-z][a-z0-9-]{1,31}\Z")


class Credentials(NamedTuple):
    """Where an organisation's node listens and how to speak to it."""

    org: str
    url: str
    token: str
    genesis: str
    person: str

    def __repr__(self) -> str:
        return f"Credentials(org={self.org!r}, url={self.url!r}, token=(hidden))"


def home_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where organisations live: `COMITY_HOME`, else `$XDG_DATA_HOME/comity`, else `~/.local/share/comity`."""
    if environment.get("COMITY_HOME"):
        return Path(environment["COMITY_HOME"])
    if environment.get("XDG_DATA_HOME"):
        return Path(environment["XDG_DATA_HOME"]) / "comity"
    return Path.home() / ".local" / "share" / "comity"


def organisations(home: Path) -> list[str]:
    """The organisations that have credentials below `home`, in order of name."""
    try:
        entries = sorted(entry.name for entry in home.iterdir())
    except OSError:
        return []
    return [name for name in entries if ORG.match(name) and (home / name / "credentials.json").is_file()]


def choose(org: str | None = None, *, home: Path | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """The organisation meant: the one given, else `COMITY_ORG`, else the only one there. Raises `NoCredentials`."""
    folder = home or home_folder(environment)
    name = org or environment.get("COMITY_ORG")
    if name:
        if not ORG.match(name):
            raise NoCredentials(
                f"`{name[:40]}` is not an organisation's name", why="lower-case letters, digits and hyphens"
            )
        return name
    names = organisations(folder)
    if len(names) == 1:
        return names[0]
    if not names:
        raise NoCredentials(
            "no organisation on this machine yet",
            why=f"nothing in {folder}",
            hint="comity dev, comity init NAME or comity join INVITE",
        )
    raise NoCredentials(
        "which organisation?", why=f"here are {', '.join(names)}", hint=f"comity --org {names[0]} …, or set COMITY_ORG"
    )


def load(
    org: str | None = None, *, home: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Credentials:
    """Read the credentials of an organisation. Raises `NoCredentials` when they are absent, unreadable or malformed."""
    folder = home or home_folder(environment)
    name = choose(org, home=folder, environment=environment)
    path = folder / name / "credentials.json"
    try:
        with path.open("rb") as file:
            data = file.read(CREDENTIALS_BYTES_MAX + 1)
    except FileNotFoundError:
        others = ", ".join(organisations(folder))
        raise NoCredentials(
            f"no organisation `{name}` on this machine",
            why=f"here are {others}" if others else f"nothing in {folder}",
            hint="comity dev, comity init NAME or comity join INVITE",
        ) from None
    except OSError as error:
        raise NoCredentials(f"the credentials of `{name}` cannot be read", why=error.strerror or "") from None
    return _parse(name, data)


def _parse(name: str, data: bytes) -> Credentials:
    values: Any = None
    if len(data) <= CREDENTIALS_BYTES_MAX:
        try:
            values = json.loads(data)
        except ValueError:  # The bytes hold a secret: what json says about them stays unsaid.
            values = None
    if not isinstance(values, dict) or not all(isinstance(values.get(key), str) for key in ("url", "token")):
        raise NoCredentials(
            f"the credentials of `{name}` are malformed", hint=f"comity --org {name} up writes them anew"
        )
    extra = [value if isinstance(value := values.get(key), str) else "" for key in ("genesis", "person")]
    return Credentials(name, values["url"], values["token"], extra[0], extra[1])
