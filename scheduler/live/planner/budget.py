"""The disruption budget: how many evictions per time window, in total and per namespace.

What was spent is read from the Plans themselves, so a restart or another leader cannot spend it twice; Plans are kept
at least as long as the window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from scheduler.live.planner.plan_resource import Plan, seconds_of


@dataclass(frozen=True, slots=True)
class DisruptionBudget:
    """At most `total` evictions in any `window_s`, at most `per_namespace` in one namespace; `namespaces` overrides."""

    window_s: float = 3600.0
    total: int = 100
    per_namespace: int = 50
    namespaces: dict[str, int] = field(default_factory=dict)

    def limit_of(self, namespace: str) -> int:
        """Evictions that one namespace bears in a window."""
        return self.namespaces.get(namespace, self.per_namespace)


@dataclass(slots=True)
class Spending:
    """Evictions made, as (Unix time, namespace)."""

    evictions: list[tuple[float, str]] = field(default_factory=list)

    def refusal(self, budget: DisruptionBudget, wanted: Iterable[str], now: float) -> str | None:
        """Why evictions in these namespaces (one entry each) are not allowed now; None where they are."""
        recent = Counter(namespace for time, namespace in self.evictions if time > now - budget.window_s)
        asked = Counter(wanted)
        window = f"in {budget.window_s:.0f} s"
        if recent.total() + asked.total() > budget.total:
            return f"{recent.total()} of {budget.total} evictions {window} are spent, {asked.total()} more are wanted"
        for namespace, count in sorted(asked.items()):
            limit = budget.limit_of(namespace)
            if recent[namespace] + count > limit:
                return (
                    f"{recent[namespace]} of {limit} evictions {window} in namespace {namespace} are spent, "
                    f"{count} more are wanted"
                )
        return None

    def is_hopeless(self, budget: DisruptionBudget, wanted: Iterable[str]) -> bool:
        """Whether even an unspent budget would not allow these evictions."""
        return Spending().refusal(budget, wanted, 0.0) is not None


def spent_by(plans: Iterable[Plan]) -> Spending:
    """Every eviction the Plans know of, decided ones included."""
    out = Spending()
    for plan in plans:
        by_index = {step.index: step for step in plan.spec.steps}
        for status in plan.status.steps:
            time = seconds_of(status.evicted_at)
            if time is not None and status.index in by_index:
                out.evictions.append((time, by_index[status.index].namespace))
    return out
