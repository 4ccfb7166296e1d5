"""What the dashboard was started with: set once by the command before the first page, read by every page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """paths: where runs, reports, snapshots and traces are looked for. journal: folder of live decisions.

    metrics: addresses of components that tell Prometheus how they do.
    """

    paths: tuple[Path, ...] = ()
    journal: Path | None = None
    metrics: tuple[str, ...] = ()


_current = Settings()


def use(settings: Settings) -> None:
    """From now on pages see these."""
    global _current
    _current = settings


def current() -> Settings:
    """What the pages are of."""
    return _current
