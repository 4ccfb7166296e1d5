"""What the dashboard was started with: set once by the command before the first page, read by every page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """paths: where runs, reports, snapshots and traces are looked for. journal: folder of live decisions.

    metrics: addresses of components that tell Prometheus how they do. cluster: path of a kubeconfig, or "in-cluster";
    None: no live cluster. user_claim, groups_claim: of a login by OpenID Connect; user_prefix: before each, as the API
    server puts it. proxy_secret: where a proxy says who comes, what it shows to prove that it is the proxy.
    limit_namespaces: people see pods of those namespaces only in which they may list pods.
    """

    paths: tuple[Path, ...] = ()
    journal: Path | None = None
    metrics: tuple[str, ...] = ()
    cluster: str | None = None
    user_claim: str = "email"
    groups_claim: str = "groups"
    user_prefix: str = ""
    proxy_secret: str = field(default="", repr=False)
    limit_namespaces: bool = False


_current = Settings()


def use(settings: Settings) -> None:
    """From now on pages see these."""
    global _current
    _current = settings


def current() -> Settings:
    """What the pages are of."""
    return _current
