"""What the dashboard counts of itself, for /metrics."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.registry import CollectorRegistry

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

PAGE_SECONDS = Histogram(
    "stowage_dashboard_page_seconds", "Time the server took for a view of a page, by page; a rerun is a view.",
    ["page"], buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10), registry=REGISTRY,
)  # fmt: skip
FAILED_PAGES = Counter(
    "stowage_dashboard_failed_pages", "Views that ended in an error we did not foresee, by page.", ["page"],
    registry=REGISTRY,
)  # fmt: skip
SESSIONS = Gauge("stowage_dashboard_sessions", "Browser tabs connected now.", registry=REGISTRY)
REFUSED = Counter(
    "stowage_dashboard_refused", "Connections that were turned away, by reason: host or full.", ["reason"],
    registry=REGISTRY,
)  # fmt: skip


@contextlib.contextmanager
def page_view(page: str) -> Iterator[None]:
    """Count one view of a page, its time, and whether it failed."""
    began = time.perf_counter()
    try:
        yield
    except Exception:  # a page that stops or starts again by itself raises no Exception
        FAILED_PAGES.labels(page).inc()
        raise
    finally:
        PAGE_SECONDS.labels(page).observe(time.perf_counter() - began)
