"""One import of the real 19.65 h slice for the whole session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from traces.importer import import_trace
from traces.schema import Trace, open_trace


@pytest.fixture(scope="session")
def slice2011(shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Google 2011: task_events parts 0-13, job_events parts 0-14, all machine_events."""
    folder = shared_data("google2011")
    out = tmp_path_factory.mktemp("slice2011") / "trace"
    import_trace("google2011", [folder / name for name in ("task_events", "job_events", "machine_events")], out)
    return open_trace(out)
