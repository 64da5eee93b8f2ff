"""What goes wrong when programs of others are run.

ComputeError
├── SandboxRefused    this host cannot give a guarantee; nothing was run
├── MalformedFrame    bytes from a worker that are not a frame, or exceed a limit
├── WorkerFailed      the worker's own code raised; the worker lives on
└── WorkerEnded       the worker is gone: a limit, a crash, or it was stopped
"""

from __future__ import annotations

from comity.record.errors import ComityError


class ComputeError(ComityError):
    """The root of this package's errors."""

    code = "compute"


class SandboxRefused(ComputeError):
    """A guarantee that cannot be given here. Nothing runs with less."""

    code = "sandbox-refused"
    exit_code = 3


class MalformedFrame(ComputeError):
    """Bytes on a worker's pipe that are not a frame."""

    code = "malformed-frame"


class WorkerFailed(ComputeError):
    """The code inside the worker raised an exception."""

    code = "worker-failed"


class WorkerEnded(ComputeError):
    """The worker ended before it answered."""

    code = "worker-ended"
