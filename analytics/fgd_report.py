"""What `stowage fgd` reads from its options and shows: the run beside the published policies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analytics.errors import InputError
from analytics.fgd import PUBLISHED_NAMES, FgdResult
from analytics.report import print_table

SHOWN = (80, 90, 95, 100, 110, 120, 130)
TITLES = {"allocated_pct": "allocated GPUs, %", "fragmented_pct": "fragmented GPUs, %"}
OURS_BESIDE = (PUBLISHED_NAMES["best-fit"], PUBLISHED_NAMES["fgd"])

Published = Mapping[str, Mapping[str, Mapping[int, float]]]


def parse_seeds(text: str) -> list[int]:
    """The seeds of 42, 42,44 or 42-51, in that order. Raises InputError for anything else."""
    rule = f"--seeds: one seed (42), several (42,44) or a range (42-51), not {text!r}"
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise InputError(rule)
        every = range(int(low), int(high if dash else low) + 1)
        if not every:
            raise InputError(rule)
        found += every
    if len(set(found)) != len(found):
        raise InputError(f"{rule}: a seed is there twice")
    return found


def print_result(result: FgdResult, published: Published) -> None:
    """Two tables, by arrived %: this run, and what was published for the policy and for the best of the others."""
    shown = [share for share in SHOWN if share in result.mean("allocated_pct")]
    own = PUBLISHED_NAMES.get(result.policy)
    for name, title in TITLES.items():
        mean = result.mean(name)
        rows = [[f"{result.policy}, {result.path}", *(f"{mean[share]:.2f}" for share in shown)]]
        if len(result.runs) > 1:
            curves = [getattr(run, name) for run in result.runs]
            spread = [np.std([curve[share] for curve in curves], ddof=1) for share in shown]
            rows.append(["  standard deviation", *(f"{one:.2f}" for one in spread)])
        for policy, curve in published.get(name, {}).items():
            if policy == own or (own is None and policy in OURS_BESIDE):
                rows.append([f"published {policy}", *(f"{curve[share]:.2f}" for share in shown if share in curve)])
        print_table(f"{title}, when this share of the GPUs has been asked for", ["", *map(str, shown)], rows)
    seeds = f"{len(result.runs)} seed{'s' if len(result.runs) > 1 else ''}"
    print(f"{seeds}, {result.cpu_s:.1f} CPU s")
