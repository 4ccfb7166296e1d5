"""What `stowage serverless bounds` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from analytics.report import number, print_table
from analytics.serverless.bounds import Pooling, Shaving


def pooling_object(regions: list[str], found: Pooling) -> dict[str, Any]:
    """For scripts."""
    return {"regions": regions, "saved": found.saved, **asdict(found)}


def shaving_objects(region: str, trigger: str, found: list[Shaving]) -> dict[str, Any]:
    """For scripts: shares of the present peak, by hours of wait."""
    return {"region": region, "trigger": trigger, "rows": [asdict(row) for row in found]}


def print_pooling(regions: list[str], found: Pooling) -> None:
    """The bound, and what a rule that knows only the past makes of it."""
    print(
        f"{', '.join(regions)}, {found.hours} hours: peaks {found.room_apart:,} cold starts an hour apart, "
        f"{found.room_together:,} together: {-100 * found.saved:.1f} %"
    )
    print(
        f"room learnt from the first half: {found.learned:,}; in the second half {found.refused:,} found none "
        f"anywhere, {100 * found.moved:.1f} % ran in another region"
    )
    if found.mean_s is not None:
        print(
            f"mean cold start {number(found.mean_home_s)} s at home, {number(found.mean_s)} s routed by the hour "
            f"before, {number(found.mean_oracle_s)} s routed knowing the hour"
        )


def print_shaving(region: str, trigger: str, found: list[Shaving]) -> None:
    """One row per bound on the wait."""
    rows = [
        [
            str(row.hours),
            *(f"{-100 * share:.1f} %" for share in (row.blocks, row.bound, row.reached)),
            number(row.waited_h),
        ]
        for row in found
    ]
    columns = ["wait at most, h", "bound in blocks", "bound", "reached without the future", "mean wait, h"]
    print_table(f"peak of running pods in {region} when {trigger} may wait", columns, rows)
