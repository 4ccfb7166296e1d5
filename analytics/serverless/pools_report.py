"""What `stowage serverless pools` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from analytics.report import print_table
from analytics.serverless.pools import Sizing


def pools_object(found: Sizing) -> dict[str, Any]:
    """For scripts."""
    return asdict(found)


def print_pools(found: Sizing) -> None:
    """One row per quantile."""
    columns = [
        "quantile", "idle GB h a day", "hits", "hits, one price", "hits, one size all day", "hits, bound",
        "pod allocation, s", "cold start, s",
    ]  # fmt: skip
    rows = []
    for level in found.levels:
        mine = level.by_hour
        rows.append([
            f"{mine.value:g}", f"{mine.idle_gb_h:,.2f}", _percent(mine.hit_share),
            *("-" if other is None else _percent(other.hit_share) for other in (level.by_price, level.all_day)),
            _percent(level.bound), f"{mine.allocation_s:.3f}", f"{mine.allocation_s + found.rest_s:.3f}",
        ])  # fmt: skip
    print_table("cold starts that find a pod ready, all rules at the idle memory of their row", columns, rows)
    print(
        f"{found.cold_starts:,} cold starts of {found.pools} pools in {found.days} days, each sized from days before; "
        f"{found.unpooled:,} of functions without a pool left out"
    )
    print(
        f"as recorded, with pools whose sizes are not published: {_percent(found.recorded_hits)} hits, pod allocation "
        f"{found.recorded_s:.3f} s, cold start {found.recorded_s + found.rest_s:.3f} s"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
