"""Pages run head-less (AppTest) over small workspaces that Stowage's own generators made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

import stowage
from dashboard import settings
from tests.conftest import MadeOnce
from tests.dashboard.workspaces import make_workspace

OpenPage = Callable[..., AppTest]


@pytest.fixture
def open_page() -> Iterator[OpenPage]:
    """open_page("replay", folder, run="a"): the page over these folders, with these parameters in its address."""

    def open_it(
        module: str,
        *paths: Path,
        journal: Path | None = None,
        metrics: tuple[str, ...] = (),
        **query: str | list[str],
    ) -> AppTest:
        settings.use(settings.Settings(paths, journal, metrics))
        app = AppTest.from_function(_one_page, kwargs={"module": module}, default_timeout=60)
        for name, value in query.items():
            app.query_params[name] = value
        return app.run()

    ours = sys.modules["__main__"]
    yield open_it
    sys.modules["__main__"] = ours  # Streamlit left its page there; a process that is spawned would run it as its own
    settings.use(settings.Settings())


def _one_page(module: str) -> None:
    from dashboard.screens import PAGES
    from dashboard.shell import show_page

    show_page(next(info for info in PAGES if info.module == module))


@pytest.fixture(scope="session")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a small synthetic cell: `trace`, and `runs/` as recorded and under two policies."""
    folder = tmp_path_factory.mktemp("cell")
    size = ["--machines", "40", "--days", "0.1", "--seed", "3"]
    room = ["--overcommit", "cpu=1.35", "--overcommit", "memory=1.25", "--interval", "5m"]
    for words in (
        ["trace", "synth", "google2011", *size, "-o", str(folder / "raw")],
        ["trace", "import", "google2011", str(folder / "raw"), "-o", str(folder / "trace")],
        ["replay", str(folder / "trace"), "--mode", "recorded", "-o", str(folder / "runs" / "recorded")],
        *(
            ["replay", str(folder / "trace"), "--policy", policy, *room, "-o", str(folder / "runs" / policy)]
            for policy in ("best-fit", "kube-default")
        ),
    ):
        done = CliRunner().invoke(stowage.app, words)
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="session")
def workspace(made_once: MadeOnce) -> Path:
    """Something for every page, with hostile names; see `make_workspace`. Not to be changed."""
    return made_once("dashboard", lambda folder: make_workspace(folder, run))


def run(*words: str | Path) -> str:
    """What a command of stowage prints on stdout."""
    done = CliRunner().invoke(stowage.app, [str(word) for word in words])
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.stdout
