"""Evidence: everything that stands behind a record or a prediction, in one bundle that anyone checks offline.

`select` says what a bundle needs, `collect` makes it, `verify` checks it with the genesis digest alone. Format: docs/evidence.md.
"""

from comity.ledger.evidence.bundle import Prediction, read_zip, write_zip
from comity.ledger.evidence.checks import Check, Report, verify
from comity.ledger.evidence.collect import Selection, collect, select

__all__ = ["Check", "Prediction", "Report", "Selection", "collect", "read_zip", "select", "verify", "write_zip"]
