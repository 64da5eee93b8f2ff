"""What goes wrong in a study.

LearnError
├── MalformedWeights   bytes that are not a weights blob, or values that fixed point cannot hold
├── UnfitRule          an aggregation rule that the study's roster or quorum cannot satisfy
└── StudyCodeFailed    the study's own code raised, or answered something that is not weights
"""

from __future__ import annotations

from comity.record.errors import ComityError


class LearnError(ComityError):
    """The root of this package's errors."""

    code = "learn"


class MalformedWeights(LearnError):
    """A weights blob that cannot be read, or numbers that cannot become one."""

    code = "malformed-weights"


class UnfitRule(LearnError):
    """A rule whose assumptions the round does not meet (too few updates for the faults it must bear)."""

    code = "unfit-rule"


class StudyCodeFailed(LearnError):
    """The study's code raised, or returned something that is not what its function promises."""

    code = "study-code-failed"
