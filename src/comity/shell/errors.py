"""What the shell raises, as a tree that mirrors the exit codes and the API's error codes.

ComityError
└── ShellError
    ├── BadUsage                       2   the words typed make no command
    ├── NoCredentials                  1   no organisation's folder, or more than one and none chosen
    ├── Unreachable, NotReady          5   nobody answers; the node starts, catches up, or has no quorum
    ├── Denied, Unauthenticated        3   a role, a grant or a contract says no; nobody knows who asks
    ├── NotFound, Conflict, Refused    1   a request that the caller can mend
    ├── VerificationFailed             4   evidence is not what was sealed
    └── NodeFault                      2   the node's own error, or an answer that is no answer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comity.record.errors import ComityError


class ShellError(ComityError):
    """Whatever went wrong between a person and a node."""

    code = "shell"


class BadUsage(ShellError):
    """Words that are no command, or arguments that do not fit it."""

    code = "bad-usage"
    exit_code = 2


class NoCredentials(ShellError):
    """No organisation on this machine to speak for, or too many."""

    code = "no-credentials"


class Unreachable(ShellError):
    """No node answers at its address."""

    code = "unreachable"
    exit_code = 5


class NotReady(ShellError):
    """The node is starting, catching up, without a quorum, or not done in time."""

    code = "busy"
    exit_code = 5


class Denied(ShellError):
    """A role, a policy, a grant or a contract says no."""

    code = "forbidden"
    exit_code = 3


class Unauthenticated(ShellError):
    """The node does not know this token."""

    code = "unauthenticated"
    exit_code = 3


class NotFound(ShellError):
    """The node has nothing of that name."""

    code = "not-found"


class Conflict(ShellError):
    """The node knows more than one such thing, or another state of it."""

    code = "conflict"


class Refused(ShellError):
    """What was asked cannot be done as it was asked."""

    code = "refused"


class VerificationFailed(ShellError):
    """The evidence is not what was sealed."""

    code = "verification-failed"
    exit_code = 4


class NodeFault(ShellError):
    """The node failed, or answered in a shape that we do not know."""

    code = "internal"
    exit_code = 2


_BY_CODE: dict[str, type[ShellError]] = {kind.code: kind for kind in (Unauthenticated, NotFound, Conflict)}
_BY_EXIT: dict[int, type[ShellError]] = {1: Refused, 2: NodeFault, 3: Denied, 4: VerificationFailed, 5: NotReady}
_TEXT_CHARACTERS_MAX = 2000


def from_answer(error: object) -> ShellError:
    """The exception for the `error` of an envelope. Anything that is not one becomes a `NodeFault`."""
    if not isinstance(error, Mapping):
        return NodeFault("the node answered with an error that is not in its envelope")
    exit_code = error.get("exit_code")
    kind = _BY_CODE.get(str(error.get("code")))
    if kind is None:
        kind = _BY_EXIT.get(exit_code if isinstance(exit_code, int) else 2, NodeFault)
    raised = kind(_text(error, "message") or "the node refused", why=_text(error, "why"), hint=_text(error, "hint"))
    raised.code = _text(error, "code") or kind.code
    return raised


def as_json(error: ComityError) -> dict[str, Any]:
    """The `error` of an envelope for an exception: what `--json` prints on stdout when a command fails."""
    return {
        "code": error.code,
        "message": error.what,
        "why": error.why,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def _text(error: Mapping[str, Any], name: str) -> str:
    value = error.get(name)
    return value[:_TEXT_CHARACTERS_MAX] if isinstance(value, str) else ""
