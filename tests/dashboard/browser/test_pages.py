"""Every page in a real browser: on a small workspace full of hostile names, on an empty one, in both themes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.screens import PAGES, PageInfo
from tests.dashboard.serving import Server

looking = pytest.importorskip("tests.dashboard.browser.looking", reason="needs playwright: make install")

PLACES = ("filled", "empty")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("info", PAGES, ids=lambda info: info.module)
def test_a_page_opens_without_a_fault(
    info: PageInfo, place: str, theme: str, browser: Any, screenshots: Path, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(place)
    failed = server.metric(f'stowage_dashboard_failed_pages_total{{page="{info.module}"}}')
    with looking.tab_of(browser, server.url(), theme) as tab:
        tab.visit(info.path)
        faults = tab.faults(info)
        tab.picture(screenshots / f"{info.module}-{place}-{theme}.png")
    assert not faults
    assert server.metric(f'stowage_dashboard_failed_pages_total{{page="{info.module}"}}') == failed
    assert server.metric(f'stowage_dashboard_page_seconds_count{{page="{info.module}"}}') > 0


@pytest.mark.parametrize("info", PAGES, ids=lambda info: info.module)
def test_a_page_fits_a_phone(info: PageInfo, browser: Any, filled: Server, screenshots: Path) -> None:
    with looking.tab_of(browser, filled.url(), size=looking.PHONE) as tab:
        tab.visit(info.path)
        tab.picture(screenshots / f"{info.module}-phone.png")
        assert not tab.faults(info)
        assert not tab.is_too_wide


def test_the_first_page_is_the_overview(browser: Any, filled: Server) -> None:
    with looking.tab_of(browser, filled.url()) as tab:
        tab.visit("")
        assert not tab.faults(PAGES[0])


def test_the_menu_leads_to_every_page(browser: Any, empty: Server) -> None:
    with looking.tab_of(browser, empty.url()) as tab:
        tab.visit("system")
        links = tab.page.locator('[data-testid="stSidebarNavLink"]')
        assert links.count() == len(PAGES)
        for number, info in enumerate(PAGES):
            links.nth(number).click()
            tab.page.wait_for_function("title => document.querySelector('h1')?.innerText === title", arg=info.title)
            tab.wait()
            assert not tab.faults(info)
