"""Why pods and tasks wait: of a snapshot (searched), of the journal (as the planner told), of a replay (counted)."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import pandas as pd

from analytics.errors import InputError
from analytics.views import MOST_ROWS, ask
from analytics.views.journal import ask_journal
from analytics.views.snapshots import packing_of, read_snapshot, turn
from analytics.workspace import Item
from scheduler.core.packing.explain import explain_pod, node_reasons
from scheduler.core.packing.from_snapshot import Packing
from scheduler.core.packing.ledger import room_left
from scheduler.core.packing.problem import Bools, Budget, Ints
from scheduler.core.snapshot import Pod

MIB: Final = 2**20
HELD, CLOSED, TOO_LARGE, ROOM = (
    "held back, or with rules that are not modelled", "no node may run it (labels, taints, volumes)",
    "too large for every node that may run it", "a node has room as things are",
)  # fmt: skip
Names = frozenset[str] | None
KEY: Final = re.compile(r"[a-z0-9][a-z0-9.-]*/[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
ANOTHER: Final = "a pod of another namespace"


def waiting_pods(item: Item, namespaces: Names = None) -> pd.DataFrame:
    """The pods of a snapshot that wait, most important first: what each asks for and what stands in its way.

    namespaces: only pods of these. The cause is read off the nodes, before any search: `explain` gives the proof.
    """
    packing = packing_of(item)
    cause = _causes(packing)
    waiting = [
        pod for pod in packing.snapshot.pods
        if pod.node is None and (namespaces is None or pod.namespace in namespaces)
    ]  # fmt: skip
    waiting.sort(key=lambda pod: (-pod.priority, pod.created, pod.key))
    rows = [_described(pod) | {"cause": cause.get(pod.key, HELD)} for pod in waiting]
    columns = ["namespace", "pod", "priority", "cpu_milli", "memory_mib", "devices", "gang", "since_utc", "cause"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["since_utc"] = pd.to_datetime(frame["since_utc"], errors="coerce", utc=True).dt.tz_localize(None)
    return frame


def ranked_causes(waiting: pd.DataFrame) -> pd.DataFrame:
    """What stands in the way of how many of these pods, most first."""
    ranked = waiting.groupby("cause", sort=False).agg(
        pods=("pod", "size"), cpu_milli=("cpu_milli", "sum"), memory_mib=("memory_mib", "sum"), example=("pod", "first")
    )
    return ranked.reset_index().sort_values(["pods", "cause"], ascending=[False, True], ignore_index=True)


def explain(item: Item, pod: str, budget_s: float, namespaces: Names = None) -> dict[str, Any]:
    """The explanation of one pod, found within about twice the budget. Keys as of `stowage explain --json`.

    namespaces: pods of others are not named.
    """
    snapshot = read_snapshot(item)
    with turn():
        try:
            found = asdict(explain_pod(snapshot, pod, budget=Budget(budget_s)))
        except LookupError as unknown:
            raise InputError(str(unknown)) from unknown
    if namespaces is None:
        return found
    others = {one.key for one in snapshot.pods if one.namespace not in namespaces}
    hidden: dict[str, Any] = _without_names(found, others)
    return hidden


def _without_names(value: Any, names: set[str]) -> Any:
    """The same with these pods' names replaced wherever they stand."""
    if isinstance(value, str):
        return KEY.sub(lambda match: ANOTHER if match[0] in names else match[0], value)
    if isinstance(value, dict):
        return {key: _without_names(part, names) for key, part in value.items()}
    return [_without_names(part, names) for part in value] if isinstance(value, list) else value


def nodes_against(item: Item, pod: str) -> pd.DataFrame:
    """Every node with what it has free and what it has against one pod; the nearest to taking it first.

    obstacle: the first of the reasons in a word, "none" where the node alone has nothing against it. *_asked: what the
    pod asks for, the same in every row.
    """
    packing = packing_of(item)
    snapshot = packing.snapshot
    asked = next((one for one in snapshot.pods if one.key == pod), None)
    if asked is None:
        raise InputError(f"no pod is named {pod}: it may be gone from the snapshot")
    why: dict[str, list[str]] = {}
    kind: dict[str, str] = {}
    for reason in node_reasons(snapshot, pod):
        why.setdefault(reason.node, []).append(reason.sentence.removeprefix(f"{reason.node} "))
        kind.setdefault(reason.node, _word(reason.rule))
    problem = packing.problem
    free = room_left(problem, problem.home)
    need = {**dict.fromkeys(problem.resources, 0), **asked.requests, "pods": 1}
    lacks = sum(
        np.clip(need.get(name, 0) - free[:, r], 0, None) / max(need.get(name, 0), 1)
        for r, name in enumerate(problem.resources)
    )
    frame = pd.DataFrame({
        "node": problem.nodes,
        "obstacle": [kind.get(node, "none") for node in problem.nodes],
        "obstacles": [len(why.get(node, ())) for node in problem.nodes],
        "cpu_milli": _column(free, problem.resources, "cpu"),
        "memory_mib": _column(free, problem.resources, "memory") // MIB,
        "cpu_milli_asked": asked.requests.get("cpu", 0),
        "memory_mib_asked": -(-asked.requests.get("memory", 0) // MIB),
        "why": ["; ".join(why.get(node, ())) for node in problem.nodes],
        "lacks": lacks,
    })  # fmt: skip
    frame = frame.sort_values(["obstacles", "lacks", "node"], ignore_index=True).drop(columns="lacks")
    return frame.head(MOST_ROWS)


def journal_pods(item: Item, most: int = MOST_ROWS) -> pd.DataFrame:
    """What the planner last told of each pod that waits, the newest first."""
    return ask_journal(item.path, "journal_waiting", most=most)


def journal_reasons(item: Item) -> pd.DataFrame:
    """The same reasons counted, with the numbers in them left out."""
    return ask_journal(item.path, "journal_reasons", most=50)


def journal_history(item: Item, namespace: str, pod: str) -> pd.DataFrame:
    """Everything that the journal tells of one pod, the newest first."""
    return ask_journal(item.path, "journal_pod", namespace=namespace, pod=pod, most=200)


def run_waits(item: Item) -> pd.DataFrame:
    """Of a replay: tasks by tier and by size in powers of two, and how long they waited."""
    return ask(item.path, "waits_by_shape")


def run_longest(item: Item, tier: str, most: int = 200) -> pd.DataFrame:
    """Of a replay: the tasks of a tier that waited longest."""
    return ask(item.path, "waited_longest", tier=tier, most=most)


def _described(pod: Pod) -> dict[str, Any]:
    rest = {name: amount for name, amount in pod.requests.items() if name not in ("cpu", "memory") and amount}
    return {
        "namespace": pod.namespace,
        "pod": pod.name,
        "priority": pod.priority,
        "cpu_milli": pod.requests.get("cpu", 0),
        "memory_mib": -(-pod.requests.get("memory", 0) // MIB),
        "devices": ", ".join(f"{amount} {name}" for name, amount in sorted(rest.items())),
        "gang": pod.gang,
        "since_utc": pod.created,
    }


def _causes(packing: Packing) -> dict[str, str]:
    """What stands in the way of each waiting pod of the problem, by class: equal pods have equal causes."""
    problem = packing.problem
    free = room_left(problem, problem.home)
    of_class: dict[int, str] = {}
    found: dict[str, str] = {}
    for pod, home, k in zip(problem.pods, problem.home.tolist(), problem.pod_class.tolist(), strict=True):
        if home < 0:
            if k not in of_class:
                of_class[k] = _cause_of(
                    problem.demand[k], problem.allowed[problem.mask[k]], problem.capacity, free, problem.resources
                )
            found[pod] = of_class[k]
    return found


def _cause_of(demand: Ints, allowed: Bools, capacity: Ints, free: Ints, resources: tuple[str, ...]) -> str:
    if not allowed.any():
        return CLOSED
    large_enough = allowed & (demand <= capacity).all(axis=1)
    if not large_enough.any():
        return TOO_LARGE
    lacks = (demand > free[large_enough]) & (demand > 0)
    if not lacks.any(axis=1).all():
        return ROOM
    return f"no room: {resources[int(lacks.sum(axis=0).argmax())]} is full"


def _word(rule: str) -> str:
    return {"full": "full", "too small": "too small"}.get(rule.partition(":")[0], "node rules")


def _column(amounts: Ints, resources: tuple[str, ...], name: str) -> Ints:
    return amounts[:, resources.index(name)] if name in resources else np.zeros(len(amounts), np.int64)
