"""The last word before a validator's signature leaves: what was signed is on disk first, and is never contradicted.

It runs beside the key, in the signer's process, and trusts nobody: also a replica that lost its memory, or a twin of it,
cannot make this key vote twice. Not the protocol: see `qbft`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from comity.ledger import rlp
from comity.ledger.errors import LedgerError, MalformedRlp
from comity.ledger.messages import NOT_PREPARED, Kind, Vote
from comity.record.types import Hash32

RECORDS_COUNT_MAX = 65_536
"""Beyond this the log is compacted to the few records that still matter."""
_FLOOR = 0
"""The code of a record that raises the floor without a vote; votes have their `Kind`."""


class VoteRefused(LedgerError):
    """A vote against this validator's own log. It must not be signed."""

    code = "vote-refused"
    exit_code = 3


class CorruptVoteLog(LedgerError):
    """The log holds what `VoteLog` never wrote: nothing can be signed safely."""

    code = "corrupt-vote-log"
    exit_code = 4


class Appendable(Protocol):
    """What is asked of `store.wal.Log`."""

    def append(self, entry: bytes) -> None:
        """Returns after the fsync."""
        ...

    def compact(self, entries: Iterable[bytes]) -> None:
        """Replaces all records by these, atomically."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class VoteLog:
    """Which votes this key has cast, and hence may cast.

    PROPOSAL, PREPARE, COMMIT: one digest for all three in each (height, round). ROUND-CHANGE: into a higher round than any vote
    before, and it may not deny the lock: it names a prepared round no lower than that of the last COMMIT of the height,
    and the same block if equal. Never back in height, nor in round. The very same vote may be signed again.
    """

    def __init__(self, log: Appendable) -> None:
        self._log = log
        self._height = 0
        self._round = 0
        self._cast: dict[Kind, Vote] = {}
        """The votes of this height and round."""
        self._locked: Vote | None = None
        """The last COMMIT of this height."""
        for record in log:
            self._replay(record)

    @property
    def floor(self) -> tuple[int, int]:
        """(height, round) of the last vote: no vote below is signed. The replica starts from here."""
        return self._height, self._round

    def allow(self, vote: Vote) -> None:
        """Returns when the vote is on disk and may be signed; `VoteRefused` otherwise."""
        if self._cast.get(vote.kind) == vote and (vote.height, vote.round) == self.floor:
            return
        self._judge(vote)
        if len(self._log) >= RECORDS_COUNT_MAX:
            self._log.compact(self._records())
        self._log.append(_record(vote))
        self._note(vote)

    def raise_floor(self, height: int) -> None:
        """Refuse every vote below `height` from now on: for a key restored from a backup, whose log may be behind."""
        if height > self._height:
            self._log.append(rlp.encode([_FLOOR, height]))
            self._move(height, 0)

    def _judge(self, vote: Vote) -> None:
        if not vote.is_consistent:
            raise _refuse(vote, "it contradicts itself")
        if (vote.height, vote.round) < self.floor:
            raise _refuse(vote, f"this key has voted at height {self._height}, round {self._round}")
        if vote.height > self._height:
            return
        if vote.kind is Kind.ROUND_CHANGE:
            self._judge_round_change(vote)
        elif vote.round == self._round:
            for cast in self._cast.values():
                if cast.kind is not Kind.ROUND_CHANGE and cast.digest != vote.digest:
                    raise _refuse(vote, f"it has signed {cast.kind.name} for 0x{cast.digest.hex()[:12]} there")

    def _judge_round_change(self, vote: Vote) -> None:
        if vote.round == self._round and self._cast:
            raise _refuse(vote, "it has voted in that round")
        lock = self._locked
        if lock is None or vote.prepared > lock.round:
            return
        if vote.prepared != lock.round or vote.digest != lock.digest:
            raise _refuse(vote, f"it is locked on 0x{lock.digest.hex()} since round {lock.round}")

    def _note(self, vote: Vote) -> None:
        if (vote.height, vote.round) != self.floor:
            self._move(vote.height, vote.round)
        self._cast[vote.kind] = vote
        if vote.kind is Kind.COMMIT:
            self._locked = vote

    def _move(self, height: int, round_: int) -> None:
        if height != self._height:
            self._locked = None
        self._height, self._round = height, round_
        self._cast = {}

    def _records(self) -> list[bytes]:
        """What a log must hold to give this very state."""
        lock = self._locked
        votes = [lock] if lock is not None and lock not in self._cast.values() else []
        return [rlp.encode([_FLOOR, self._height])] + [_record(vote) for vote in [*votes, *self._cast.values()]]

    def _replay(self, record: bytes) -> None:
        try:
            fields = rlp.as_list(rlp.decode(record, bytes_max=256, depth_max=1))
            code = rlp.as_uint(fields[0]) if fields else _FLOOR
            if code == _FLOOR:
                _, height = rlp.as_list(fields, 2)
                self._move(rlp.as_uint(height), 0)
                return
            _, height, round_, digest, prepared = rlp.as_list(fields, 5)
            hash32 = Hash32(rlp.as_bytes(digest, 32))
            vote = Vote(Kind(code), rlp.as_uint(height), rlp.as_uint(round_), hash32, rlp.as_uint(prepared) - 1)
        except (MalformedRlp, ValueError) as error:
            raise CorruptVoteLog("vote log holds a record that is no vote", why=str(error)) from error
        self._note(vote)


def _record(vote: Vote) -> bytes:
    return rlp.encode([int(vote.kind), vote.height, vote.round, vote.digest, vote.prepared + 1])


def _refuse(vote: Vote, why: str) -> VoteRefused:
    what = f"refused to sign {vote.kind.name} at height {vote.height}, round {vote.round}"
    prepared = "" if vote.prepared == NOT_PREPARED else f", prepared in round {vote.prepared}"
    return VoteRefused(what, why=f"for 0x{vote.digest.hex()[:12]}{prepared}: {why}")
