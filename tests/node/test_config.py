"""Settings: precedence, origin, types, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from comity.node.config import SETTINGS, read_file, resolve, write_file
from comity.node.errors import BadConfig


def test_each_origin_beats_the_next() -> None:
    file, environment, flags = {"port": 7500}, {"COMITY_PORT": "7600"}, {"port": 7700}
    assert resolve({}, {}, {})["port"].origin == "default"
    assert (resolve(file, {}, {})["port"].value, resolve(file, {}, {})["port"].origin) == (7500, "file")
    assert (resolve(file, environment, {})["port"].value, resolve(file, environment, {})["port"].origin) == (
        7600,
        "environment",
    )
    assert (resolve(file, environment, flags)["port"].value, resolve(file, environment, flags)["port"].origin) == (
        7700,
        "flag",
    )


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ({"prot": 7400}, "unknown setting `prot`"),
        ({"port": "seven"}, "`port` cannot be 'seven'"),
        ({"port": 80}, "`port` cannot be 80"),
        ({"port": True}, "`port` cannot be True"),
        ({"approve": "always"}, "`approve` cannot be 'always'"),
        ({"org": 5}, "`org` cannot be 5"),
    ],
)
def test_bad_values_are_named(file: dict[str, object], said: str) -> None:
    with pytest.raises(BadConfig) as caught:
        resolve(file, {}, {})
    assert said in caught.value.what


def test_a_file_that_was_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    write_file(path, {"org": "northfield", "port": 7410})
    assert read_file(path) == {"org": "northfield", "port": 7410}
    assert read_file(tmp_path / "absent.toml") == {}


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe", b"#" * 70_000])
def test_rubbish_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(BadConfig):
        read_file(tmp_path / "config.toml")


def test_every_setting_says_what_it_does() -> None:
    assert all(len(setting.help) > 20 for setting in SETTINGS)
