"""Faults of servers in the layout of InfiniteHBD-Trace, with its statistics.

Every node fails at a rate that falls with the time since its repair and rises and falls with the fleet's weeks; each
fault has a cause, and lasts as faults of that cause did. As in the published trace, every node is up at the start.
Only summaries of the trace stand here (rates, shares, quantiles): no row of it is copied.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# [M] 582 outages of 400 servers in 345 days: mean rate, and by time since repair the factor on it (none: the last).
FAULTS_PER_HOUR = 0.0043 / 24
AGE_H = (1.0, 6.0, 24.0, 72.0, 168.0, 336.0, 720.0, 1440.0, np.inf)
FACTOR = (522.0, 118.0, 18.0, 6.1, 4.0, 2.7, 1.7, 0.9, 0.6)  # for ages up to AGE_H
# [C] The weekly rate of nodes that have been up for a week is log-normal and remembers: chosen so that as many are down
# at once as in the trace (of 400: mean 9.4, median 7, 90th percentile 22, 99th 31; over 40 seeds 8.6, 6, 20, 29).
WEEK_H = 168.0
WEEK_SPREAD, WEEK_MEMORY = 1.3, 0.85
ALMOST_0_H = 0.01  # what 0 stands for where the logarithm is taken

# [M] Level, class and description as published; share of the faults; hours down at the quantiles of LEVELS.
LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class Cause(NamedTuple):
    """One kind of fault. hours: how long it lasts, at LEVELS."""

    level: str
    name: str
    detail: str
    faults: int
    hours: tuple[float, ...]


HARDWARE, OTHER = "Hardware Failure", "Other Failure"
CAUSES = (
    Cause(HARDWARE, "GPU", "GPU", 158, (0.07, 0.21, 0.23, 16.8, 73.4, 431, 2207)),
    Cause(OTHER, "Unknown Error", "Unknown Error", 144, (ALMOST_0_H, 0.55, 2.08, 15.6, 68.3, 225, 3143)),
    Cause(OTHER, "Stress Test Failure", "Unknown Error", 96, (ALMOST_0_H, 0.02, 1.77, 14.4, 57.4, 60.3, 607)),
    Cause(HARDWARE, "Parameter Plane Cable", "Link Down", 40, (1.07, 2.43, 10.3, 47.4, 125, 232, 1049)),
    Cause(HARDWARE, "Fan", "Fan", 33, (0.27, 14.3, 22.6, 73.5, 234, 235, 1748)),
    Cause(HARDWARE, "NIC", "NIC", 30, (ALMOST_0_H, 0.07, 0.33, 11.8, 110, 725, 2042)),
    Cause(HARDWARE, "Power Supply", "Power Supply", 26, (8.72, 19.3, 45.2, 351, 493, 1315, 1367)),
    Cause(OTHER, "Other Failures", "Unknown Error", 55, (ALMOST_0_H, 1.38, 4.05, 21.5, 51.1, 137, 291)),
)


class Fault(NamedTuple):
    """A fault of a node (by number), in hours since the start; end_h may lie after the end of the trace."""

    start_h: float
    end_h: float
    node: int
    cause: Cause


def draw_faults(nodes: int, length_h: float, seed: int) -> list[Fault]:
    """The faults of a fleet, by time. The same seed gives the same faults; a node's do not depend on the others'."""
    weeks = _weeks(length_h, seed)
    found = [fault for node in range(nodes) for fault in _life(node, length_h, weeks, seed)]
    return sorted(found, key=lambda fault: (fault.start_h, fault.node))


def write_faults(folder: Path, nodes: int, days: float, seed: int) -> dict[str, int]:
    """Write `fault_trace.json` as published, SHA256SUMS and synth.json; return rows per table.

    Faults that outlast the trace have no end in it.
    """
    length_h = days * 24
    name = [str(uuid.UUID(bytes=np.random.default_rng([seed, 8, node]).bytes(16), version=4)) for node in range(nodes)]
    events = []
    for fault in draw_faults(nodes, length_h, seed):
        cause = {"Level": fault.cause.level, "Class": fault.cause.name, "Desc": fault.cause.detail}
        for what, at_h in (("fault_start", fault.start_h), ("fault_end", fault.end_h)):
            if at_h < length_h:
                row = {"node_id": name[fault.node], "event_time": round(at_h / 24, 4), "event_type": what}
                events.append((at_h, fault.node, what == "fault_start", {**row, "fault_type": cause}))
    events.sort(key=lambda event: event[:3])
    text = json.dumps([event for *_, event in events], indent=1).encode() + b"\n"
    (folder / "fault_trace.json").write_bytes(text)
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(text).hexdigest()}  ./fault_trace.json\n")
    rows = {"fault_trace": len(events)}
    note = {"format": "infinitehbd", "synthetic": True, "machines": nodes, "days": days, "seed": seed, "rows": rows}
    (folder / "synth.json").write_text(json.dumps(note, indent=1) + "\n")
    return rows


def _weeks(length_h: float, seed: int) -> NDArray[np.float64]:
    """How the rate of the whole fleet differs from its mean, week by week."""
    rng = np.random.default_rng([seed, 9])
    count = int(length_h // WEEK_H) + 1
    state, found = rng.normal(), []
    for step in rng.normal(size=count):
        state = WEEK_MEMORY * state + np.sqrt(1 - WEEK_MEMORY**2) * step
        found.append(state)
    tides = np.exp(WEEK_SPREAD * np.array(found))
    return np.asarray(tides / tides.mean())


def _life(node: int, length_h: float, weeks: NDArray[np.float64], seed: int) -> Iterator[Fault]:
    """One node's faults: up until its share of risk is used up, down for as long as the cause asks, and again."""
    rng = np.random.default_rng([seed, 10, node])
    shares = np.array([cause.faults for cause in CAUSES], float)
    at_h, repaired_h = 0.0, -np.inf
    while True:
        at_h = _next_fault(at_h, repaired_h, rng.exponential(), weeks, length_h)
        if at_h >= length_h:
            return
        cause = CAUSES[int(rng.choice(len(CAUSES), p=shares / shares.sum()))]
        lasts_h = float(np.exp(np.interp(rng.random(), LEVELS, np.log(cause.hours))))
        yield Fault(at_h, at_h + lasts_h, node, cause)
        at_h = repaired_h = at_h + lasts_h


def _next_fault(at_h: float, repaired_h: float, risk: float, weeks: NDArray[np.float64], length_h: float) -> float:
    """When the rate, added up from `at_h` on, comes to `risk`; the length of the trace if it does not."""
    while at_h < length_h:
        week = int(at_h // WEEK_H)
        age = (
            int(np.searchsorted(AGE_H, at_h - repaired_h, side="right")) if np.isfinite(repaired_h) else len(AGE_H) - 1
        )
        until_h = min((week + 1) * WEEK_H, repaired_h + AGE_H[age] if np.isfinite(repaired_h) else np.inf, length_h)
        tide = weeks[min(week, len(weeks) - 1)] if AGE_H[age] > WEEK_H else 1.0
        rate = FAULTS_PER_HOUR * FACTOR[age] * tide
        if rate * (until_h - at_h) >= risk:
            return float(at_h + risk / rate)
        risk -= rate * (until_h - at_h)
        at_h = max(until_h, float(np.nextafter(at_h, np.inf)))
    return length_h
