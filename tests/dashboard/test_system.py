"""The System page: metrics read from a real endpoint, a journal written by the planner's own writer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from analytics.views import system
from analytics.workspace import find_items
from dashboard import scrape, settings
from scheduler.live.journal import Journal
from tests.dashboard.conftest import OpenPage


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Where a component tells how it does: 100 answers, 99 of them fast."""
    registry = CollectorRegistry()
    duration = Histogram(
        "stowage_extender_request_duration_seconds", "", ["verb"], buckets=(0.001, 0.01, 0.1), registry=registry
    )
    for _ in range(99):
        duration.labels("filter").observe(0.0005)
    duration.labels("filter").observe(0.05)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(generate_latest(registry))

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
    server.shutdown()
    server.server_close()


def test_percentiles_are_the_buckets_upper_ends(endpoint: str) -> None:
    frame = scrape.latency(scrape.scrape(endpoint), "stowage_extender_request_duration_seconds")
    assert frame.to_dict("records") == [
        {"of": "verb=filter", "requests": 100.0, "p50_at_most_s": 0.001, "p99_at_most_s": 0.001}
    ]


def test_a_component_that_does_not_answer_is_named(open_page: OpenPage, tmp_path: Path) -> None:
    app = open_page("system", tmp_path, metrics=("http://127.0.0.1:1/metrics",))
    assert not app.exception
    assert "does not answer" in app.error[0].value


def test_the_solver_is_shown_by_verdict(open_page: OpenPage, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", "planner-1")
    for number, verdict in enumerate(["optimal", "optimal", "feasible"]):
        journal.append("solve", 1e9 + number, verdict=verdict, details={"seconds": 0.5 + number})
    journal.flush()
    app = open_page("system", journal=tmp_path / "journal")
    assert not app.exception
    kinds = next(table.value for table in app.dataframe if "decisions" in table.value.columns)
    assert kinds["decisions"].tolist() == [3]
    (item,) = find_items([tmp_path / "journal"]).of("journal")
    solves = system.solves(item).groupby("verdict")
    assert solves["solves"].sum().to_dict() == {"feasible": 1, "optimal": 2}
    assert solves["longest_s"].max().to_dict() == {"feasible": 2.5, "optimal": 1.5}


def test_the_page_of_nothing_says_what_it_could_show(open_page: OpenPage, tmp_path: Path) -> None:
    app = open_page("system", tmp_path)
    assert not app.exception
    assert len(app.info) == 2
    assert settings.current().metrics == ()
