"""A tab of a real browser on a page of the dashboard, and what is wrong with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from dashboard.screens import PageInfo

Theme = Literal["light", "dark"]
WIDE: Final = (1400, 1000)
TALLEST: Final = 8000
PHONE: Final = (390, 844)
LONGEST_S: Final = 60  # a busy machine; what a page may take is for the benchmark

# On a deep link Streamlit does not know at which part of the address it lives, so it asks for these below the page
# first, gets 404, and then asks above it.
ASKED_TOO_LOW: Final = ("/_stcore/health", "/_stcore/host-config")

# The script has ended, and nothing on the page says that it is still being drawn.
IS_DRAWN: Final = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  return app && app.dataset.testScriptState === 'notRunning' && document.querySelector('h1')
    && !document.querySelector('[data-testid="stSkeleton"], [data-testid="stSpinner"], [data-stale="true"]');
}"""
# What only code that somebody smuggled in would have made.
SMUGGLED: Final = "img[src='x'], a[href^='javascript:']"


@dataclass(slots=True)
class Tab:
    """A page and what it did. said: errors on its console. afar: addresses elsewhere that it asked."""

    page: Page
    base: str
    said: list[str] = field(default_factory=list)
    afar: list[str] = field(default_factory=list)

    def visit(self, path: str) -> float:
        """Go there; gives the seconds until all of it is drawn."""
        began = time.perf_counter()
        self.page.goto(self.base + path, wait_until="commit")
        self.wait()
        return time.perf_counter() - began

    def wait(self) -> None:
        """Until everything is drawn."""
        self.page.wait_for_function(IS_DRAWN, timeout=LONGEST_S * 1000, polling=20)

    def picture(self, path: Path) -> None:
        """Keep the whole page as a picture: the page scrolls inside of the window, so the window is made to hold it."""
        size = self.page.viewport_size or {"width": WIDE[0], "height": WIDE[1]}
        needed = self.page.evaluate("document.querySelector('[data-testid=\"stMain\"]').scrollHeight")
        self.page.set_viewport_size({"width": size["width"], "height": min(max(needed, size["height"]), TALLEST)})
        self.page.wait_for_timeout(700)  # charts fade in
        self.wait()
        self.page.screenshot(path=path)
        self.page.set_viewport_size(size)

    def faults(self, info: PageInfo) -> list[str]:
        """Everything that must not be on this page."""
        page = self.page
        found = [f"on the console: {line}" for line in self.said] + [f"asked {url}" for url in self.afar]
        if (title := page.locator("h1").first.inner_text()) != info.title:
            found.append(f"the title is {title!r}")
        found += [f"an exception: {text}" for text in page.locator('[data-testid="stException"]').all_inner_texts()]
        text = page.locator('[data-testid="stMain"]').inner_text()
        found += [f"{word!r} is on it" for word in ("Traceback", "This page failed", "KeyError") if word in text]
        found += [
            f"smuggled in: {each}" for each in page.locator(SMUGGLED).evaluate_all("all => all.map(e => e.outerHTML)")
        ]
        return found

    @property
    def is_too_wide(self) -> bool:
        """Whether it must be scrolled sideways."""
        return bool(
            self.page.evaluate("""() => {
            const main = document.querySelector('[data-testid="stMain"]');
            return Math.max(document.documentElement.scrollWidth - innerWidth, main.scrollWidth - main.clientWidth) > 1;
        }""")
        )


@contextlib.contextmanager
def browser_at(path: str) -> Iterator[Browser]:
    """The browser, without a window."""
    with sync_playwright() as playwright:
        # Our own pages only, on machines where a sandbox cannot be had (containers run tests as root).
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@contextlib.contextmanager
def tab_of(browser: Browser, base: str, theme: Theme = "light", size: tuple[int, int] = WIDE) -> Iterator[Tab]:
    """A tab that keeps nothing of others. base: address of the server, with "/" at its end."""
    width, height = size
    context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": height})
    tab = Tab(context.new_page(), base)

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.location.get("url", "").endswith(ASKED_TOO_LOW):
            tab.said.append(message.text)

    def see(request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(base).netloc and urlsplit(request.url).scheme.startswith("http"):
            tab.afar.append(request.url)

    def refuse(dialog: Any) -> None:
        tab.said.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    tab.page.on("console", hear)
    tab.page.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.page.on("request", see)
    tab.page.on("dialog", refuse)
    try:
        yield tab
    finally:
        context.close()
