"""A node's settings and where each came from: flag, then environment, then file, then default.

Declared once, in `SETTINGS`; the reference page and `comity config show --origin` are made from it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comity.node.errors import BadConfig

CONFIG_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class Setting:
    """One setting: its name in the file, the type it must have, its default, and what it does."""

    name: str
    type: type
    default: Any
    help: str
    check: Callable[[Any], bool] = lambda _: True

    @property
    def environment(self) -> str:
        return "COMITY_" + self.name.upper()


@dataclass(frozen=True)
class Value:
    """A setting's value and its origin: `flag`, `environment`, `file` or `default`."""

    value: Any
    origin: str


def _is_port(value: int) -> bool:
    return 1024 <= value <= 65000


SETTINGS = (
    Setting("org", str, "", "The organisation this node belongs to; a member's name on the ledger."),
    Setting("person", str, "operator", "Who speaks when the command line approves or refuses."),
    Setting(
        "host",
        str,
        "127.0.0.1",
        "The loopback address to listen on; put a TLS proxy in front to be reached from elsewhere.",
    ),
    Setting("port", int, 7400, "API and console; the peer port is one above.", _is_port),
    Setting(
        "approve",
        str,
        "ask",
        "Studies and proposals: `ask` a person, or `policy` to vote by the rules below alone.",
        lambda v: v in ("ask", "policy"),
    ),
    Setting(
        "purposes",
        str,
        "",
        "Comma-separated purposes for which this organisation's data may be used; empty allows what each dataset allows.",
    ),
    Setting(
        "accuracy_min",
        str,
        "0",
        "With `approve = policy`: the least accuracy at our own site for a yes to a deployment.",
    ),
    Setting(
        "log_level",
        str,
        "info",
        "`debug`, `info`, `warning` or `error`.",
        lambda v: v in ("debug", "info", "warning", "error"),
    ),
)


def resolve(file: Mapping[str, Any], environment: Mapping[str, str], flags: Mapping[str, Any]) -> dict[str, Value]:
    """Every setting with its origin. Raises `BadConfig` for an unknown name, a wrong type or a value out of range."""
    known = {setting.name for setting in SETTINGS}
    for name in file:
        if name not in known:
            raise BadConfig(
                f"unknown setting `{name}` in config.toml", hint="comity config show --origin lists every setting"
            )
    values: dict[str, Value] = {}
    for setting in SETTINGS:
        if flags.get(setting.name) is not None:
            raw, origin = flags[setting.name], "flag"
        elif setting.environment in environment:
            raw, origin = environment[setting.environment], "environment"
        elif setting.name in file:
            raw, origin = file[setting.name], "file"
        else:
            raw, origin = setting.default, "default"
        values[setting.name] = Value(_typed(setting, raw, origin), origin)
    return values


def _typed(setting: Setting, raw: Any, origin: str) -> Any:
    value = raw
    if setting.type is int and isinstance(raw, str) and raw.isascii() and raw.isdigit():
        value = int(raw)
    if not isinstance(value, setting.type) or isinstance(value, bool) or not setting.check(value):
        raise BadConfig(f"setting `{setting.name}` cannot be {raw!r}", why=f"from {origin}; {setting.help}")
    return value


def read_file(path: Path) -> dict[str, Any]:
    """The settings in a TOML file; none if it is absent."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    if len(data) > CONFIG_BYTES_MAX:
        raise BadConfig(f"{path.name} is larger than {CONFIG_BYTES_MAX} bytes")
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path.name} is not TOML", why=str(error)) from error


def write_file(path: Path, values: Mapping[str, str | int]) -> None:
    """A TOML file of flat settings, for `init` and `join`."""
    lines = [f"{name} = {value}" if isinstance(value, int) else f'{name} = "{value}"' for name, value in values.items()]
    path.write_text("\n".join(lines) + "\n")
