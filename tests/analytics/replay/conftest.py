"""Puts this folder's helpers on the path, and keeps replays of seconds from being cut into 200 slices."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def few_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay is cut where nobody may notice; three cuts are enough to be noticed."""
    from analytics.replay import drive

    monkeypatch.setattr(drive, "SLICES", 3)
