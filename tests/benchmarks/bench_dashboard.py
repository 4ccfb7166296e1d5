"""Every page on real data in a browser: seconds to the first paint and after a choice, and the server's memory.

A load is a navigation in a browser that has the program of the pages in its cache, as after the first page; it ends
when everything is drawn. An interaction is another choice in the page's first list. Wall seconds on a machine that
others use are upper bounds: the load average stands beside them. STOWAGE_SCREENSHOTS keeps pictures of all pages.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.dashboard_workspace import links, workspace
from tests.benchmarks.harness import Report
from tests.dashboard.browser.find import find_browser
from tests.dashboard.serving import Server, started

REPEATS: Final = 3
SESSIONS: Final = 5
LOADS: Final = 200
HEARD: Final = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  window.ended = 0;
  new MutationObserver(() => { if (app.dataset.testScriptState === 'notRunning') window.ended += 1; })
    .observe(app, {attributes: true, attributeFilter: ['data-test-script-state']});
}"""


def bench(work: Path) -> Report:
    report = Report("dashboard", "pages on the Google slice and reports of real data, in Chromium")
    path = find_browser()
    if path is None:
        report.notes.append("not measured: no Chromium (make browser)")
        return report
    what, folder = workspace(work)
    report.notes.append(f"workspace: {what}")
    from tests.dashboard.browser.looking import browser_at

    with started(folder) as server, browser_at(path) as browser:
        report.add("server", rss_mib_at_start=rss_mib(server))
        measure_pages(report, browser, server)
        check_numbers(report, browser, server, folder)
    with started(folder) as server, browser_at(path) as browser:
        measure_memory(report, browser, server, folder)
    return report


def measure_pages(report: Report, browser: Any, server: Server) -> None:
    """Seconds of every page, cold (the first time anybody looks) and then; its faults are counted."""
    from dashboard.screens import PAGES
    from tests.dashboard.browser.looking import tab_of

    with tab_of(browser, server.url()) as tab:
        tab.visit("system")  # fetches the program
        paints, choices, faults = [], [], 0
        for info in PAGES:
            first = tab.visit(info.path)
            loads = [tab.visit(info.path) for _ in range(REPEATS)]
            paints.append(statistics.median(loads))
            chosen = [seconds for _ in range(REPEATS) if (seconds := interact(tab)) is not None]
            choices += [statistics.median(chosen)] if chosen else []
            found = tab.faults(info)
            faults += len(found)
            report.add(
                info.module, first_s=round(first, 2), paint_s=round(paints[-1], 2),
                choice_s=round(choices[-1], 2) if chosen else None, faults=len(found),
            )  # fmt: skip
            report.notes += [f"{info.module}: {fault}" for fault in found]
            tab.said.clear()
    report.add(
        "median of pages", paint_s=round(statistics.median(paints), 2),
        choice_s=round(statistics.median(choices), 2), faults=faults,
    )  # fmt: skip
    take_pictures(browser, server)


def interact(tab: Any) -> float | None:
    """Choose another of the page's first list; seconds until all is drawn again. None: it has no list, or no other."""
    from tests.dashboard.browser.looking import IS_DRAWN

    box = tab.page.locator('[data-testid="stMain"] [data-testid="stSelectbox"]')
    if not box.count():
        return None
    box.first.locator("input").click()
    options = tab.page.locator('[role="option"]')
    options.first.wait_for()
    if options.count() < 2:
        tab.page.keyboard.press("Escape")
        return None
    is_last = options.last.get_attribute("aria-selected") == "true"
    tab.page.keyboard.press("ArrowUp" if is_last else "ArrowDown")
    tab.page.evaluate(HEARD)
    began = time.perf_counter()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_function(f"() => window.ended && ({IS_DRAWN})()", timeout=20_000, polling=20)
    return time.perf_counter() - began


def take_pictures(browser: Any, server: Server) -> None:
    from dashboard.screens import PAGES
    from tests.dashboard.browser.looking import tab_of

    if "STOWAGE_SCREENSHOTS" not in os.environ:
        return
    folder = Path(os.environ["STOWAGE_SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        with tab_of(browser, server.url(), theme) as tab:
            for info in PAGES:
                tab.visit(info.path)
                tab.picture(folder / f"{info.module}-real-{theme}.png")


def measure_memory(report: Report, browser: Any, server: Server, folder: Path) -> None:
    """Resident memory over page loads by sessions at once, each a new load of the page of some run."""
    from dashboard.screens import PAGES
    from tests.dashboard.browser.looking import tab_of

    todo = links(folder, PAGES)
    course: dict[int, float] = {}
    with contextlib.ExitStack() as stack:
        tabs = [stack.enter_context(tab_of(browser, server.url())) for _ in range(SESSIONS)]
        done = 0
        while done < LOADS:
            for offset, tab in enumerate(tabs):
                tab.page.goto(server.url(todo[(done + offset) % len(todo)]), wait_until="commit")
            for tab in tabs:
                tab.wait()
            done += len(tabs)
            if done % 50 == 0:
                course[done] = rss_mib(server)
    report.add(
        f"{LOADS} loads by {SESSIONS} sessions", **{f"rss_mib_{done}": value for done, value in course.items()},
        peak_rss_mib=rss_mib(server, "VmHWM"), growth_100_to_200_mib=round(course[200] - course[100], 1),
    )  # fmt: skip


def rss_mib(server: Server, field: str = "VmRSS") -> float:
    """What the kernel says of the server's memory."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024, 1)


def check_numbers(report: Report, browser: Any, server: Server, folder: Path) -> None:
    """Numbers on the page beside the same asked of the files in SQL, written here again."""
    from tests.dashboard.browser.looking import tab_of

    run = folder / "runs" / "best-fit"
    with tab_of(browser, server.url()) as tab:
        for name, on_page, in_files in numbers(tab, run, folder):
            report.add(f"number: {name}", on_page=str(on_page), in_sql=str(in_files), equal=on_page == in_files)


def numbers(tab: Any, run: Path, folder: Path) -> Iterator[tuple[str, Any, Any]]:
    """A name, what the page shows, and what the files hold."""
    import duckdb

    def count(file: Path, where: str = "true") -> int:
        return int(duckdb.connect().sql(f"select count(*) from '{file}' where {where}").fetchall()[0][0])

    tab.visit("nodes?run=runs/best-fit")
    yield "machines", tile(tab, "Machines"), f"{count(run / 'nodes.parquet'):,}"
    tab.visit("replay?run=runs/best-fit")
    shown = {row["tier"]: int(row["submitted"]) for row in download(tab, "between")}
    for tier in json.loads((run / "run.json").read_text())["tiers"]:
        low = -(2**31) if tier["min"] is None else tier["min"]
        high = 2**31 if tier["max"] is None else tier["max"]
        held = count(run / "placements.parquet", f"not initial and priority between {low} and {high}")
        yield f"submitted, {tier['name']}", shown.get(tier["name"]), held
    tab.visit("data?trace=trace")
    kept = sum(count(path) for table in ("job_events", "task_events", "machines") for path in tables(folder, table))
    yield "rows kept", tile(tab, "Rows kept"), f"{kept:,}"


def tables(folder: Path, table: str) -> list[Path]:
    """The files of one of the trace's tables."""
    return sorted((folder / "trace" / table).glob("*.parquet"))


def tile(tab: Any, label: str) -> str:
    """The number under a label."""
    one = tab.page.locator('[data-testid="stMetric"]').filter(has_text=label).first
    return str(one.locator('[data-testid="stMetricValue"]').inner_text())


def download(tab: Any, key: str) -> list[dict[str, str]]:
    """The rows of a table, by its button."""
    with tab.page.expect_download() as waiting:
        tab.page.locator(f".st-key-{key}-csv button").first.click()
    return list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text())))
