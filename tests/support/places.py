"""Where things stand: the checkout, and the public test data beside it. Nothing is read here."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
