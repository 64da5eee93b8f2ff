"""The state's tries: equal to a reference from scratch after any history, on disk and off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from comity.ledger import rlp
from comity.ledger.diff import StateDiff
from comity.ledger.state import TABLES, State, persist
from comity.ledger.trie import EMPTY_ROOT, Trie
from comity.ledger.types import ZERO_HASH, Account
from comity.record.digest import keccak256
from comity.record.types import Address, Hash32, Wei
from comity.store.kv import Batch
from comity.store.memory import MemoryStore
from support.ledger import executor

CODE = b"\x5f\x5f\xf3"
WHO = [Address(bytes([n]) * 20) for n in (1, 2, 3, 0x13)]
World = dict[Address, tuple[Account, dict[int, int]]]
Change = tuple[Address, tuple[int, int, bool] | None, dict[int, int]]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(WHO),
        st.one_of(st.none(), st.tuples(st.integers(0, 2), st.integers(0, 2**256 - 1), st.booleans())),
        st.dictionaries(st.integers(0, 3), st.sampled_from([0, 1, 2**256 - 1]), max_size=3),
    ),
    max_size=12,
)


def _reference(world: World) -> Hash32:
    accounts = Trie()
    for address, (account, slots) in world.items():
        storage = Trie()
        for slot, value in slots.items():
            storage.set(keccak256(slot.to_bytes(32, "big")), rlp.encode_uint(value) if value else b"")
        code_hash = keccak256(b"") if account.code_hash == ZERO_HASH else account.code_hash
        accounts.set(keccak256(address), rlp.encode([account.nonce, account.balance, storage.root(), code_hash]))
    return accounts.root()


def _diff(world: World, address: Address, fields: tuple[int, int, bool] | None, slots: dict[int, int]) -> StateDiff:
    """One change, applied to `world` as well. An account that goes takes its slots along."""
    before, held = world.get(address, (None, {}))
    diff = StateDiff()
    if fields is None:
        after, slots = None, dict.fromkeys(held, 0)
        world.pop(address, None)
    else:
        nonce, balance, has_code = fields
        after = Account(nonce, Wei(balance), keccak256(CODE) if has_code else ZERO_HASH)
        diff.codes = {keccak256(CODE): CODE} if has_code else {}
        world[address] = (after, {**held, **slots})
    diff.accounts[address] = (before, after)
    for slot, value in slots.items():
        diff.slots[address, slot] = (held.get(slot, 0), value)
    return diff


@given(CHANGES)
def test_root_equals_the_reference_and_undo_is_exact(
    changes: list[Change],
) -> None:
    state, store, world = State(executor()), MemoryStore(TABLES), World()
    roots, diffs = [state.root()], []
    for address, fields, slots in changes:
        diff = _diff(world, address, fields, slots)
        state.apply(diff)
        batch = Batch()
        persist(diff, batch)
        store.write(batch)
        diffs.append(diff)
        roots.append(state.root())
        assert roots[-1] == _reference(world)
    loaded = State(executor())
    loaded.load(store)
    assert loaded.root() == roots[-1]
    for diff, root in zip(reversed(diffs), reversed(roots[:-1]), strict=True):
        state.undo(diff)
        assert state.root() == root
    assert roots[0] == EMPTY_ROOT


@given(CHANGES)
def test_asking_for_the_root_in_between_changes_nothing(
    changes: list[Change],
) -> None:
    often, once, world = State(executor()), State(executor()), World()
    for address, fields, slots in changes:
        diff = _diff(world, address, fields, slots)
        often.apply(diff)
        often.root()
        once.apply(diff)
    assert often.root() == once.root()


def test_a_large_state_loads_in_pieces() -> None:
    store, batch, diff = MemoryStore(TABLES), Batch(), StateDiff()
    for n in range(1, 3_000):
        diff.accounts[Address(n.to_bytes(20, "big"))] = (None, Account(n, Wei(n)))
        diff.slots[WHO[0], n] = (0, n)
    diff.accounts[WHO[0]] = (None, Account(1))
    persist(diff, batch)
    store.write(batch)
    made, whole = executor(), State(executor())
    whole.apply(diff)
    pieces = State(made)
    pieces.load(store)
    assert pieces.root() == whole.root()
    assert made.storage(WHO[0], 2_999) == 2_999
