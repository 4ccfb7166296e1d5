"""What a placement is worth and which rules it breaks, read off the definitions. Shares nothing with any method."""

from __future__ import annotations

from collections import Counter

from scheduler.core.balance.problem import OVERLOAD_UNIT, STRANDED_UNIT, WAITING, Domain, Instance, Objective
from scheduler.core.columns import Codes


def measure(instance: Instance, at: Codes) -> Objective:
    """The four parts of the objective of this placement. at: (T,)."""
    resources = range(len(instance.resources))
    used = [[0] * len(resources) for _ in instance.nodes]
    unplaced = cost = 0
    for t, n in enumerate(at.tolist()):
        if n == WAITING:
            unplaced += int(instance.priority[t]) + 1
            continue
        for r in resources:
            used[n][r] += int(instance.use[t, r])
        if n != instance.home[t]:
            cost += int(instance.cost[t])
    overload = stranded = 0
    for n, row in enumerate(instance.capacity.tolist()):
        shares = []
        for r in resources:
            excess = used[n][r] - row[r]
            overload += max(excess, 0) * round(OVERLOAD_UNIT / max(row[r], 1))
            shares.append(max(-excess, 0) * STRANDED_UNIT // max(row[r], 1))
        stranded += max(shares, default=0) - min(shares, default=0)
    return Objective(overload, unplaced, cost, stranded)


def broken_rules(instance: Instance, at: Codes) -> list[str]:
    """Every rule this placement breaks, in words; empty when it is sound. Overload is no rule: it is an amount."""
    if at.shape != instance.home.shape:
        return [f"a placement of shape {at.shape} is not one of {len(instance.tasks)} tasks"]
    broken = []
    met: dict[tuple[int, int], list[int]] = {}
    for t, n in enumerate(at.tolist()):
        task, home = str(instance.tasks[t]), int(instance.home[t])
        if not WAITING <= n < len(instance.nodes):
            broken.append(f"task {task} is on row {n}; there are {len(instance.nodes)} nodes")
            continue
        if n != WAITING and instance.group[t] >= 0:
            met.setdefault((int(instance.group[t]), n), []).append(t)
        if n == home:
            continue
        if instance.pinned[t]:
            broken.append(f"task {task} is pinned and was moved")
        if n == WAITING:
            broken.append(f"task {task} ran and has no place")
            continue
        node = str(instance.nodes[n])
        if not instance.allowed[instance.mask[t], n]:
            broken.append(f"task {task} may not use node {node}")
        for r, resource in enumerate(instance.resources):
            if instance.request[t, r] > instance.capacity[n, r]:
                broken.append(f"task {task} asks for more {resource} than node {node} has")
    for (_, n), members in sorted(met.items()):
        moved = [t for t in members if instance.home[t] != n]
        if moved and len(members) > 1:
            names = ", ".join(str(instance.tasks[t]) for t in members)
            broken.append(f"{names} ask for different nodes and meet on {instance.nodes[n]}")
    for domain in instance.domains:
        if domain.is_hard and not broken:
            broken += _straddling(instance, domain, at)
    return broken


def _straddling(instance: Instance, domain: Domain, at: Codes) -> list[str]:
    """Who came to another value than that of its team."""
    broken = []
    teams: dict[int, list[int]] = {}
    for t, team in enumerate(domain.team.tolist()):
        if team >= 0:
            teams.setdefault(team, []).append(t)
    for _, members in sorted(teams.items()):
        homes = [int(domain.node[instance.home[t]]) for t in members if instance.home[t] != WAITING]
        came = [t for t in members if at[t] not in (WAITING, instance.home[t])]
        running = Counter(value for value in homes if value >= 0)
        values = {t: int(domain.node[at[t]]) for t in came}
        shared = (
            min(running, key=lambda value: (-running[value], value)) if running else values[came[0]] if came else -1
        )
        for t in came:
            where = domain.values[values[t]] if values[t] >= 0 else "none"
            if values[t] != shared or values[t] < 0:
                broken.append(f"task {instance.tasks[t]} came to {domain.name} {where}, its team shares another")
    return broken
