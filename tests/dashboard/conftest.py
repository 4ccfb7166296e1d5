"""Pages run head-less (AppTest) over small workspaces that Stowage's own generators made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import settings

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

    yield open_it
    settings.use(settings.Settings())


def _one_page(module: str) -> None:
    from dashboard.screens import PAGES
    from dashboard.shell import show_page

    show_page(next(info for info in PAGES if info.module == module))
