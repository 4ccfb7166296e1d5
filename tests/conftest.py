"""Fixtures that every folder's tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline per example would time numba's first compilation, and the neighbours on a busy machine.
settings.register_profile("stowage", deadline=None)
settings.load_profile("stowage")

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A function from a name under ../shared/data to its path; the test is skipped, saying so, where it is absent."""

    def locate(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"real trace data not found: {path}")
        return path

    return locate
