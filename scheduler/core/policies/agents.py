"""Agents: no central loop; brokers place what arrives, and overloaded nodes look for places for their tasks themselves.

The protocol is in `scheduler.core.balance.agents`. `planner` tells the driver that nobody but the agents places
anything, in a round for each second of the trace. The score here stands for who would place centrally, and is not
asked.
"""

from __future__ import annotations

from typing import Final

from scheduler.core.balance.agents.settings import COUNTS, RANGES, Settings
from scheduler.core.policies import Policy
from scheduler.core.policies.kube_default import score
from scheduler.core.policies.parameters import MIGRATION, Parameter
from scheduler.core.taxonomy import Taxonomy

# Nodes fail with the trace, or with --faults.
SETTABLE: Final = tuple(name for name in RANGES if name != "node_failure")


def _parameter(name: str) -> Parameter:
    rule = RANGES[name]
    default = getattr(Settings(), name)
    return Parameter(
        name, default, f"{rule.what[0].upper()}{rule.what[1:]}.", rule.unit, rule.low, rule.high, name in COUNTS
    )


POLICY = Policy(
    "agents",
    "No centre: brokers name candidates by a stale view, nodes hold room and offload what is too much, by message.",
    score,
    planner="agents",
    parameters=(*(_parameter(name) for name in SETTABLE), *MIGRATION),
    taxonomy=Taxonomy(control="decentralised", method="greedy"),
)
