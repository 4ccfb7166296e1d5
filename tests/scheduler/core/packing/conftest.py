"""The solver process is started once, so that no test's budget pays for it."""

from __future__ import annotations

import pytest

from scheduler.core.packing.solve import warm


@pytest.fixture(scope="session", autouse=True)
def solver_is_ready():
    """Loops compiled, solver process up (a cold numba cache takes a minute on a busy machine)."""
    assert warm(240.0)
