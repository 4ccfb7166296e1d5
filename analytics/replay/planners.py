"""Planners: what a replay asks at fixed instants, beside the compiled loop that places one task at a time.

A planner is a module here with a class that is an `IntervalPlanner`, made from (Running, Policy, Settings), and its row
in `_PLANNERS`; its policy names it (`Policy.planner`) and declares what can be set of it (`Policy.parameters`).
"""

from __future__ import annotations

import importlib
from typing import Final, Protocol

from analytics.replay.running import Running
from scheduler.core.policies import Planner, Policy
from scheduler.core.policies.parameters import Settings


class IntervalPlanner(Protocol):
    """Called after everything else that happens at an instant. every_us: between two instants, from the window's start.

    A planner keeps what it carries from call to call, and what it counted.
    """

    every_us: int

    def act(self, running: Running, now_us: int) -> None:
        """Look at what runs and waits, and change it; also called where the window ends."""

    def counters(self) -> dict[str, int]:
        """What it did over the replay, under the names a run keeps."""


class _Maker(Protocol):
    def __call__(self, running: Running, policy: Policy, settings: Settings) -> IntervalPlanner: ...


_PLANNERS: Final[dict[Planner, tuple[str, str]]] = {
    "agents": ("agents", "AgentRounds"),
    "auction": ("rounds", "AuctionRounds"),
    "freeness": ("freeness", "FreenessPlanner"),
    "packing": ("planner", "PackingPlanner"),
    "rebalance": ("rebalance", "Rebalancer"),
}
MIGRATING: Final[tuple[Planner, ...]] = ("rebalance", "agents", "freeness")


def new_planner(running: Running, policy: Policy, settings: Settings) -> IntervalPlanner | None:
    """The planner of that policy, or None. settings: a value for each of the policy's parameters."""
    if policy.planner is None:
        return None
    module, name = _PLANNERS[policy.planner]
    maker: _Maker = getattr(importlib.import_module(f"analytics.replay.{module}"), name)
    return maker(running, policy, settings)
