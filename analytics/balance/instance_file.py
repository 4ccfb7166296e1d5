"""A balancing instance as a file of our own: `{"kind": "StowageBalance", "version": 1, ...}`.

    {
      "kind": "StowageBalance", "version": 1,
      "nodes": [{"name": "n1", "capacity": {"cpu": 4000, "memory": 8192}, "domains": {"nic": "ib", "rack": "r7"}}],
      "tasks": [
        {"name": "a", "node": "n1", "use": {"cpu": 3000}, "cost": 512, "priority": 2},
        {"name": "b", "request": {"cpu": 2000}, "nodes": ["n1"], "group": "job"},
        {"name": "c", "node": "n1", "use": {"cpu": 2000}, "pinned": true},
        {"name": "d", "request": {"cpu": 500}, "together": {"nic": "stage-0", "rack": "stage-0"}}
      ],
      "preferred": ["rack"]
    }

Amounts are whole numbers in any unit, the same for nodes and tasks. Of `use` and `request` one may be left out: it is
then the other. `node` is where a task runs; without it, it waits, and costs nothing to place. `nodes` are those that it
may move to, all where it is left out. Tasks of one `group` ask for different nodes. Tasks that are `together` under one
name in a domain share one value of it, see `scheduler.core.balance.problem.Domain`; as a rule, or where the domain is
`preferred` only while that costs no overload and no place.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from analytics.errors import InputError
from scheduler.core.balance.problem import WAITING, Domain, Instance
from scheduler.core.columns import intern
from scheduler.core.errors import StowageInputError

KIND = "StowageBalance"


class NodeEntry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A node."""

    name: str
    capacity: dict[str, int]
    domains: dict[str, str] = {}


class TaskEntry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A task."""

    name: str
    node: str | None = None
    use: dict[str, int] | None = None
    request: dict[str, int] | None = None
    cost: int | None = None
    priority: int = 0
    pinned: bool = False
    nodes: list[str] | None = None
    group: str = ""
    together: dict[str, str] = {}


class InstanceEntry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The whole file."""

    kind: Literal["StowageBalance"]
    version: Literal[1]
    nodes: list[NodeEntry]
    tasks: list[TaskEntry]
    preferred: list[str] = []


def read_instance(path: Path, content: Any) -> Instance:
    """The instance in this JSON value of the file. Raises InputError naming the file, the object and the rule."""
    try:
        entry = msgspec.convert(content, InstanceEntry)
        return _build(entry)
    except (ValueError, msgspec.ValidationError) as error:
        raise InputError(f"{path}: {error}") from error


def write_instance(instance: Instance) -> str:
    """The text of the file; reading it gives the same instance."""
    names = instance.nodes.tolist()
    nodes = [
        NodeEntry(name, _amounts(instance, instance.capacity[n]), _values_of(instance, n))
        for n, name in enumerate(names)
    ]
    tasks = []
    for t, name in enumerate(instance.tasks.tolist()):
        at = int(instance.home[t])
        allowed = instance.allowed[instance.mask[t]]
        tasks.append(
            TaskEntry(
                name,
                node=None if at == WAITING else names[at],
                use=_amounts(instance, instance.use[t]),
                request=_amounts(instance, instance.request[t]),
                cost=None if at == WAITING else int(instance.cost[t]),
                priority=int(instance.priority[t]),
                pinned=bool(instance.pinned[t]),
                nodes=None if allowed.all() else [names[n] for n in np.flatnonzero(allowed).tolist()],
                group="" if instance.group[t] < 0 else f"group-{instance.group[t]:06d}",
                together={one.name: f"team-{one.team[t]:06d}" for one in instance.domains if one.team[t] >= 0},
            )
        )
    preferred = [one.name for one in instance.domains if not one.is_hard]
    return msgspec.json.encode(InstanceEntry("StowageBalance", 1, nodes, tasks, preferred)).decode() + "\n"


def _build(entry: InstanceEntry) -> Instance:
    nodes = sorted(entry.nodes, key=lambda one: one.name)
    tasks = sorted(entry.tasks, key=lambda one: one.name)
    for what, names in (("node", [one.name for one in nodes]), ("task", [one.name for one in tasks])):
        for name, count in Counter(names).items():
            if count > 1:
                raise StowageInputError(f"{count} {what}s are named {name!r}; names are unique")
    uses = [_either(one.use, one.request) for one in tasks]
    requests = [_either(one.request, one.use) for one in tasks]
    resources = sorted({name for row in (*uses, *requests, *(one.capacity for one in nodes)) for name in row})
    row = {one.name: n for n, one in enumerate(nodes)}
    masks: dict[tuple[bool, ...], int] = {(True,) * len(nodes): 0}
    groups: dict[str, int] = {}
    return Instance(
        nodes=np.array([one.name for one in nodes], np.str_),
        resources=tuple(resources),
        capacity=_table([one.capacity for one in nodes], resources),
        tasks=np.array([one.name for one in tasks], np.str_),
        request=_table(requests, resources),
        use=_table(uses, resources),
        home=np.array([_home(one, row) for one in tasks], np.int32),
        cost=np.array([_cost(one) for one in tasks], np.int64),
        priority=np.array([one.priority for one in tasks], np.int64),
        pinned=np.array([one.pinned for one in tasks], np.bool_),
        mask=np.array([masks.setdefault(_accepted(one, row), len(masks)) for one in tasks], np.int32),
        allowed=np.array(list(masks), np.bool_).reshape(len(masks), len(nodes)),
        group=np.array([groups.setdefault(one.group, len(groups)) if one.group else -1 for one in tasks], np.int32),
        domains=_domains(entry, nodes, tasks),
    )


def _domains(entry: InstanceEntry, nodes: list[NodeEntry], tasks: list[TaskEntry]) -> tuple[Domain, ...]:
    known = sorted({name for one in nodes for name in one.domains})
    for task in tasks:
        for name in sorted(set(task.together) - set(known)):
            raise StowageInputError(f"task {task.name!r} is together with others in one {name!r}, which no node has")
    for name in sorted(set(entry.preferred) - set(known)):
        raise StowageInputError(f"{name!r} is preferred, and no node has it; there are {', '.join(known) or 'none'}")
    found = []
    for name in known:
        of_nodes = intern(one.domains.get(name) for one in nodes)
        teams: dict[str, int] = {}
        of_tasks = [teams.setdefault(one.together[name], len(teams)) if name in one.together else -1 for one in tasks]
        found.append(
            Domain(name, of_nodes.values, of_nodes.code, np.array(of_tasks, np.int32), name not in entry.preferred)
        )
    return tuple(found)


def _values_of(instance: Instance, n: int) -> dict[str, str]:
    return {one.name: one.values[one.node[n]] for one in instance.domains if one.node[n] >= 0}


def _either(first: dict[str, int] | None, second: dict[str, int] | None) -> dict[str, int]:
    return first if first is not None else second or {}


def _home(one: TaskEntry, row: dict[str, int]) -> int:
    if one.node is None:
        return WAITING
    if one.node not in row:
        raise StowageInputError(f"task {one.name!r} runs on node {one.node!r}, which is not in the file")
    return row[one.node]


def _cost(one: TaskEntry) -> int:
    """Moving costs 1 unless it is stated, so that no move of a running task is free."""
    if one.cost is not None:
        return one.cost
    return 0 if one.node is None else 1


def _accepted(one: TaskEntry, row: dict[str, int]) -> tuple[bool, ...]:
    for name in one.nodes or ():
        if name not in row:
            raise StowageInputError(f"task {one.name!r} may use node {name!r}, which is not in the file")
    return tuple(one.nodes is None or name in one.nodes for name in row)


def _table(rows: list[dict[str, int]], resources: list[str]) -> Any:
    for one in rows:
        for name, amount in one.items():
            if not 0 <= amount < 2**40:
                raise StowageInputError(f"{name} is {amount}; an amount is at least 0 and below 2^40")
    amounts = [[one.get(name, 0) for name in resources] for one in rows]
    return np.array(amounts, np.int64).reshape(len(rows), len(resources))


def _amounts(instance: Instance, row: Any) -> dict[str, int]:
    return dict(zip(instance.resources, row.tolist(), strict=True))
