"""Fixtures that every folder's tests share, and what is done once for all workers of a run."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

import analytics  # noqa: F401 - its import says where compiled code is kept, which must hold for every test alike

if TYPE_CHECKING:
    from traces.schema import Trace

MadeOnce = Callable[[str, Callable[[Path], object]], Path]

# A deadline per example would time numba's first compilation, and the neighbours on a busy machine.
settings.register_profile("stowage", deadline=None)
settings.load_profile("stowage")

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile once, before `-n` starts workers: each of them would compile everything for itself."""
    starts_workers = getattr(session.config.option, "numprocesses", None) and not session.config.option.collectonly
    if starts_workers and not hasattr(session.config, "workerinput"):
        print("compiling what most tests run: seconds, or a minute or two when the cache is empty", flush=True)
        subprocess.run([sys.executable, str(ROOT / "tests" / "warm_up.py")], cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A function from a name under ../shared/data to its path; the test is skipped, saying so, where it is absent."""

    def locate(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"real trace data not found: {path}")
        return path

    return locate


@pytest.fixture(scope="session")
def made_once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """A function from a name and a maker to the path that the maker filled, once for all workers."""
    base = tmp_path_factory.getbasetemp()
    common = base.parent if hasattr(request.config, "workerinput") else base

    def make(name: str, maker: Callable[[Path], object]) -> Path:
        folder = common / "made_once" / name
        done = folder.with_name(f"{name}.done")
        folder.parent.mkdir(exist_ok=True)
        with folder.with_name(f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                maker(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def slice2011(shared_data: Callable[[str], Path], made_once: MadeOnce) -> Trace:
    """The real 19.65 h slice of Google 2011: task_events parts 0-13, job_events parts 0-14, all machine_events."""
    from traces.importer import import_trace
    from traces.schema import open_trace

    folder = shared_data("google2011")
    sources = [folder / name for name in ("task_events", "job_events", "machine_events")]
    return open_trace(made_once("slice2011", lambda out: import_trace("google2011", sources, out)))
