"""kube-default, and a balancer behind it: at fixed instants running tasks migrate off nodes that are overloaded.

Placing one task is kube-default's business; `planner` and `method` tell the driver which balancer of
`scheduler.core.balance` to ask, and how often. There is one policy for each central method.
"""

from __future__ import annotations

from scheduler.core.balance.methods import DECLARED
from scheduler.core.policies import Policy
from scheduler.core.policies.kube_default import score
from scheduler.core.policies.parameters import MIGRATION, Parameter

PARAMETERS = (
    Parameter("interval_s", 300, "Between two rounds.", "s", 1, 1e6, is_whole=True),
    Parameter("nodes", 200, "Nodes looked at in a round: half of them overloaded, the rest with the most room.",
              "nodes", 2, 5000, is_whole=True),
    Parameter("work", 1, "Counted work of a round's search, about a second of a core each.", "units", 0.001, 1e4),
    *MIGRATION,
)  # fmt: skip


def policy_of(method: str) -> Policy:
    """The policy `rebalance:METHOD`."""
    return Policy(
        f"rebalance:{method}",
        f"kube-default, and every few minutes tasks migrate off overloaded nodes, chosen by {method}.",
        score,
        planner="rebalance",
        method=method,
        parameters=PARAMETERS,
        taxonomy=DECLARED[method].taxonomy,
    )
