"""A browser and servers, once for all tests of this folder; without a browser the tests say so and are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.browser.find import find_browser
from tests.dashboard.serving import Server, started


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker for all of them: they share a browser and servers."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Closed with the last test of the module: Playwright's event loop runs on in the worker's thread until then."""
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium: make browser installs Debian's, or name yours in CHROMIUM")
    from tests.dashboard.browser.looking import browser_at

    with browser_at(path) as browser:
        yield browser


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures are kept: $STOWAGE_SCREENSHOTS, else a temporary folder."""
    named = os.environ.get("STOWAGE_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def filled(browser: Any, workspace: Path) -> Iterator[Server]:
    """A dashboard over the small workspace."""
    with started(workspace, "--journal", workspace / "journal") as server:
        yield server


@pytest.fixture(scope="module")
def empty(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A dashboard over nothing."""
    with started(tmp_path_factory.mktemp("empty")) as server:
        yield server
