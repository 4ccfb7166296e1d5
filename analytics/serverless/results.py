"""What a replay found, per subject, and the few figures that people compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.serverless.options import PolicySpec
from analytics.serverless.subjects import Subjects

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
US_PER_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One policy over one trace. Arrays are per subject: (S,).

    cold_starts: calls that found no pod. idle_us: time that pods were loaded and nobody called. loads: pods loaded
    ahead of a call. cpu_s: of this policy's decisions; reading is shared by all policies of a pass.
    """

    spec: PolicySpec
    subjects: Subjects
    invocations: Ints
    cold_starts: Ints
    idle_us: Ints
    loads: Ints
    cpu_s: float

    @property
    def idle_gb_h(self) -> float:
        return float((self.idle_us * self.subjects.memory_gib).sum()) / US_PER_HOUR

    def figures(self) -> dict[str, Any]:
        """What `stowage serverless replay --json` says of a policy, but for what the pass cost.

        cold_start_s: of a cold start. delay_s: of a call, those that waited for nothing included. cold_share,
        mean_delay_s: of a subject's calls, over subjects.
        """
        called = self.invocations > 0
        share = self.cold_starts[called] / self.invocations[called]
        cold_s = self.subjects.cold_s
        delay = share * cold_s[called]
        return {
            "policy": self.spec.name,
            "label": self.spec.label,
            "parameters": self.spec.parameters,
            "subjects": int(called.sum()),
            "invocations": int(self.invocations.sum()),
            "cold_starts": int(self.cold_starts.sum()),
            "pre_warms": int(self.loads.sum()),
            "idle_gb_h": self.idle_gb_h,
            "cold_start_s": describe(cold_s, self.cold_starts),
            "delay_s": describe(
                np.append(cold_s, 0.0), np.append(self.cold_starts, (self.invocations - self.cold_starts).sum())
            ),
            "cold_share": {f"p{percent}": quantile(share, np.ones(len(share)), percent / 100) for percent in (50, 75)},
            "mean_delay_s": {
                f"p{percent}": quantile(delay, np.ones(len(delay)), percent / 100) for percent in (75, 99)
            },
        }


def describe(values: Floats, weights: NDArray[Any]) -> dict[str, float | None]:
    """Mean and percentiles of values that each stand for `weights` of them; None where there is nothing."""
    total = float(weights.sum())
    found: dict[str, float | None] = {"mean": float(values @ weights) / total if total else None}
    return found | {f"p{percent}": quantile(values, weights, percent / 100) for percent in (50, 90, 99)}


def quantile(values: Floats, weights: NDArray[Any], share: float) -> float | None:
    """The least value that at least this share of the weight does not exceed."""
    order = np.argsort(values, kind="stable")
    so_far = np.cumsum(weights[order])
    if not len(so_far) or so_far[-1] <= 0:
        return None
    return float(values[order[np.searchsorted(so_far, share * so_far[-1])]])
