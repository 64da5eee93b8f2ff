"""docs/vectors/records.json is what this code gives, and docs/records.md names every kind and field.

`COMITY_TEST_WRITE_VECTORS=1 pytest tests/record/test_vectors.py` writes the file again; its change is then reviewed like code.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec import inspect, structs

from comity.record import canonical, merkle
from comity.record.digest import commitment, sha256
from comity.record.envelope import PAYLOAD_TYPE, Envelope, pae
from comity.record.keys import PrivateKey, to_hex
from comity.record.kinds import KINDS, build
from comity.record.record import Record, parse
from support.examples import ORG, SPECS

DOCS = Path(__file__).parents[2] / "docs"
VECTORS = DOCS / "vectors" / "records.json"
SEEDS = ("northfield", "riverside")


def _vectors() -> dict[str, Any]:
    keys = [PrivateKey.from_seed(seed) for seed in SEEDS]
    leaves = [b"", b"\x00", b"leaf", b"\xff" * 40, b"five"]
    return {
        "keys": [
            {
                "dev_seed": seed,
                "private_key": key.to_bytes().hex(),
                "public_key": key.public_key.hex(),
                "address": to_hex(key.address),
            }
            for seed, key in zip(SEEDS, keys, strict=True)
        ],
        "commitment": {"salt": "0b" * 32, "data": "72617720646174", "digest": commitment(b"\x0b" * 32, b"raw dat")},
        "merkle": {
            "leaves": [leaf.hex() for leaf in leaves],
            "roots": [merkle.root(leaves[:size]) for size in range(len(leaves) + 1)],
            "paths": [list(merkle.prove(leaves, index)) for index in range(len(leaves))],
        },
        "records": [_record(name, kind, spec, keys[0]) for name, (kind, spec) in SPECS.items()],
    }


def _record(name: str, kind: str, spec: dict[str, Any], key: PrivateKey) -> dict[str, Any]:
    envelope = Envelope.sign(Record.make(kind, ORG, spec), key)
    return {
        "name": name,
        "payload": envelope.payload.decode(),
        "digest": envelope.digest,
        "signing_hash": sha256(pae(PAYLOAD_TYPE, envelope.payload)),
        "signature": envelope.signature.hex(),
        "signer": to_hex(key.address),
        "envelope": envelope.encode().decode(),
    }


def test_vectors_are_what_this_code_gives() -> None:
    vectors = _vectors()
    if os.environ.get("COMITY_TEST_WRITE_VECTORS"):
        VECTORS.write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert json.loads(VECTORS.read_text(encoding="utf-8")) == vectors


def test_vectors_read_back() -> None:
    for vector in json.loads(VECTORS.read_text(encoding="utf-8"))["records"]:
        envelope = Envelope.decode(vector["envelope"].encode())
        assert to_hex(envelope.signer()) == vector["signer"]
        assert parse(vector["payload"].encode()) == envelope.record()
        assert envelope.digest == vector["digest"]


def _sections() -> dict[str, str]:
    text = (DOCS / "records.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", text + "\n##", re.MULTILINE | re.DOTALL))


def _fields(kind: inspect.Type) -> list[tuple[str, inspect.Type]]:
    """All field names with their types, nested objects included."""
    match kind:
        case inspect.Metadata():
            return _fields(kind.type)
        case inspect.StructType():
            own = [(field.encode_name, field.type) for field in kind.fields]
            return [*own, *(pair for field in kind.fields for pair in _fields(field.type))]
        case inspect.ListType():
            return _fields(kind.item_type)
        case inspect.UnionType():
            return [pair for option in kind.types for pair in _fields(option)]
        case _:
            return []


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_has_each_kind_and_field(kind: str) -> None:
    section = _sections()[kind]
    for struct in get_args(KINDS[kind]) or (KINDS[kind],):
        info = inspect.type_info(struct)
        assert isinstance(info, inspect.StructType)
        names = {name for name, _ in _fields(info)}
        if info.tag_field:
            names |= {info.tag_field, str(info.tag)}
        missing = [name for name in sorted(names) if f"`{name}`" not in section]
        assert not missing, f"docs/records.md, {kind}: {missing}"


def test_the_page_has_no_kind_too_many() -> None:
    assert set(_sections()) == set(KINDS)


def test_the_page_tells_each_limit() -> None:
    from comity.record import envelope, fields, record

    text = (DOCS / "records.md").read_text(encoding="utf-8").replace(",", "")
    for module in (canonical, envelope, fields, record):
        for name, value in vars(module).items():
            if name.endswith("_MAX") and not name.startswith("_") and isinstance(value, int):
                assert str(value) in text, f"{module.__name__}.{name} = {value}"


def test_the_example_of_the_page_is_a_vector() -> None:
    text = (DOCS / "records.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    records = {kind: build(kind, spec) for kind, spec in [SPECS["service"]]}
    payload = Record.make("service", ORG, records["service"])
    assert any(parse(block.encode()) == payload for block in blocks if block.startswith('{"_type"'))
    assert structs.asdict(records["service"]) == SPECS["service"][1]
