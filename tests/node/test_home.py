"""The folder: secrets that only their owner reads, one node at a time, and nothing made twice."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from comity.ledger.genesis import Genesis, Member
from comity.node.auth import Auth
from comity.node.errors import HomeBusy, NoHome
from comity.node.home import ROLES, Home, create, install_genesis, write_secret


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create(tmp_path / "northfield", org="northfield", port=7400, person="anna")


def test_nobody_else_may_look(home: Home) -> None:
    for path in home.root.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700, path
    for path in (*home.keys.iterdir(), home.tokens, home.credentials):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert not list(home.root.rglob("*.tmp"))


def test_keys_are_fresh_and_the_token_is_kept_as_a_hash_only(home: Home, tmp_path: Path) -> None:
    other = create(tmp_path / "other", org="other", port=7410)
    keys = [place.key(name) for place in (home, other) for name in ("org", "validator", "peer", "blobs")]
    assert len(set(keys)) == 8
    assert all(len(key) == 32 for key in keys)
    token = json.loads(home.credentials.read_text())["token"]
    assert token not in home.tokens.read_text()
    auth = Auth.load(home.tokens, now=lambda: 0.0, secret=lambda: "")
    found = auth.credential({"authorization": f"Bearer {token}"})
    assert found is not None
    assert (found.person, found.roles) == ("anna", frozenset(ROLES))


def test_an_organisation_is_made_once(home: Home) -> None:
    before = home.key("org")
    with pytest.raises(HomeBusy, match="already holds"):
        create(home.root, org="northfield", port=7400)
    assert home.key("org") == before


def test_one_node_at_a_time(home: Home) -> None:
    with home.lock(), pytest.raises(HomeBusy, match="another node"), home.lock():
        pass
    with home.lock():
        pass


def test_a_network_is_installed_with_its_digest(home: Home) -> None:
    with pytest.raises(NoHome, match="no network"):
        home.load_genesis()
    member = Member("northfield", home.address("org"), home.address("validator"), "127.0.0.1:7401")
    genesis = Genesis(43110, 1_767_225_600, (member,))
    install_genesis(home, genesis, "ab" * 32)
    assert home.load_genesis() == genesis
    credentials = json.loads(home.credentials.read_text())
    assert credentials["genesis"] == "ab" * 32
    assert credentials["token"]
    assert stat.S_IMODE(home.credentials.stat().st_mode) == 0o600


def test_a_secret_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens.json"
    write_secret(path, "before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_secret(path, "after")
    assert path.read_text() == "before"
