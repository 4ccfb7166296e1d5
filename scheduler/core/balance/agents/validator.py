"""Whether a log of the agents' doings keeps the rules: plain Python, slow, sharing nothing with the loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scheduler.core.balance.agents.desk import (
    F_DROPPED,
    F_ENDED,
    F_EXPIRED,
    F_FAILED,
    F_HELD,
    F_LOST,
    F_PLACED,
    F_REJECTED,
    F_RELEASED,
)
from scheduler.core.balance.agents.settings import Settings
from scheduler.core.balance.agents.simulate import Outcome
from scheduler.core.balance.agents.world import FINISHED, FOREVER, World
from scheduler.core.balance.problem import WAITING


@dataclass(slots=True)
class _Lease:
    task: int
    held_us: int
    source: int
    depth: int
    forced: bool


@dataclass(slots=True)
class _Reading:
    """What the log says so far."""

    world: World
    settings: Settings
    home: list[int]
    up: list[bool]
    started_us: dict[int, int]
    leases: dict[tuple[int, int, int], _Lease] = field(default_factory=dict)  # by request, attempt, node
    leaving: set[tuple[int, int]] = field(default_factory=set)  # task, node that still has it on its books
    chain: dict[int, int] = field(default_factory=dict)  # by node: the longest chain that ended there
    placed: int = 0
    broken: list[str] = field(default_factory=list)

    def tell(self, now: int, what: str) -> None:
        self.broken.append(f"at {now} us: {what}")


def broken_rules(world: World, settings: Settings, outcome: Outcome) -> list[str]:
    """Every rule that the log breaks, in words; empty when it is sound. The world had no loads beside its tasks'."""
    reading = _Reading(
        world, settings, world.home.tolist(), world.up.tolist(), dict.fromkeys(range(len(world.home)), 0)
    )
    last = 0
    for row in outcome.facts.tolist():
        if row[0] < last:
            reading.tell(row[0], "time goes back")
        last = row[0]
        _READERS[row[1]](reading, *row[:1], *row[2:])
    for lease in reading.leases.values():
        reading.tell(last, f"room is still held for task {lease.task}")
    for task, node in sorted(reading.leaving):
        reading.tell(last, f"node {node} still counts task {task}, which left")
    if reading.home != outcome.home.tolist():
        reading.tell(last, "the log ends with other places than the answer")
    if reading.placed != len(outcome.moves):
        reading.tell(last, f"the log has {reading.placed} placements, the answer {len(outcome.moves)}")
    return reading.broken


def _booked(reading: _Reading, node: int) -> list[int]:
    """What its tasks, those that left and are not taken off yet, and the leases ask for there."""
    tasks = [t for t, n in enumerate(reading.home) if n == node]
    tasks += [t for t, n in reading.leaving if n == node]
    tasks += [lease.task for (_, _, n), lease in reading.leases.items() if n == node]
    kinds = [reading.world.kind[t] for t in tasks]
    return [sum(int(reading.world.demand[k, r]) for k in kinds) for r in range(reading.world.capacity.shape[1])]


def _held(r: _Reading, now: int, t: int, n: int, j: int, number: int, source: int, depth: int, forced: int) -> None:
    world, k = r.world, int(r.world.kind[t])
    if not r.up[n]:
        r.tell(now, f"node {n} is down and holds room")
    if world.mask[k] >= 0 and not world.eligible[world.mask[k], n]:
        r.tell(now, f"task {t} may not use node {n}")
    group = int(world.group[k])
    there = [u for u, at in enumerate(r.home) if at == n]
    there += [lease.task for (_, _, at), lease in r.leases.items() if at == n]
    if group >= 0 and any(world.group[world.kind[u]] == group for u in there):
        r.tell(now, f"task {t} meets one of its group on node {n}")
    for resource, booked in enumerate(_booked(r, n)):
        demand, capacity = int(world.demand[k, resource]), int(world.capacity[n, resource])
        if demand > capacity or (demand and not forced and booked + demand > capacity):
            r.tell(now, f"node {n} holds {demand} for task {t} beside {booked} of {capacity}")
    if forced and depth + 1 > r.settings.depth:
        r.tell(now, f"task {t} is forced {depth + 1} deep; {r.settings.depth} is allowed")
    if depth > r.chain.get(source, 0):
        r.tell(now, f"node {source} offloads {depth} deep after a chain of {r.chain.get(source, 0)}")
    if (j, number, n) in r.leases:
        r.tell(now, f"node {n} holds twice for one request")
    r.leases[j, number, n] = _Lease(t, now, source, depth, bool(forced))


def _expired(r: _Reading, now: int, t: int, n: int, j: int, number: int, source: int, failed: int, forced: int) -> None:
    lease = r.leases.pop((j, number, n), None)
    if lease is None:
        r.tell(now, f"a lease of task {t} on node {n} ends that was not")
    elif failed == 0 and now != lease.held_us + round(r.settings.lease_s * 1e6):
        r.tell(now, f"the lease of task {t} on node {n} was of {now - lease.held_us} us")
    elif failed == 1 and r.up[n]:
        r.tell(now, f"a lease of task {t} was lost with node {n}, which is up")


def _placed(r: _Reading, now: int, t: int, n: int, j: int, number: int, source: int, depth: int, forced: int) -> None:
    lease = r.leases.pop((j, number, n), None)
    if lease is None or now > lease.held_us + round(r.settings.lease_s * 1e6):
        r.tell(now, f"task {t} lands on node {n}, which holds no room for it")
    if r.home[t] != (source if source >= 0 else WAITING):
        r.tell(now, f"task {t} lands from {source} and was on {r.home[t]}")
    if source >= 0:
        r.leaving.add((t, source))
    else:
        r.started_us[t] = now
    r.home[t] = n
    r.placed += 1
    if forced:
        r.chain[n] = max(r.chain.get(n, 0), depth + 1)


def _released(r: _Reading, now: int, t: int, n: int, *_: int) -> None:
    if (t, n) not in r.leaving:
        r.tell(now, f"node {n} takes task {t} off its books, which it did not leave")
    r.leaving.discard((t, n))


def _failed(r: _Reading, now: int, t: int, n: int, *_: int) -> None:
    if not r.up[n]:
        r.tell(now, f"node {n} fails twice")
    r.up[n] = False


def _lost(r: _Reading, now: int, t: int, n: int, *_: int) -> None:
    if r.home[t] != n or r.up[n]:
        r.tell(now, f"task {t} is lost with node {n} and was on {r.home[t]}")
    r.home[t] = WAITING


def _ended(r: _Reading, now: int, t: int, n: int, *_: int) -> None:
    if r.home[t] != n or r.world.lasts_us[t] == FOREVER or now != r.started_us[t] + int(r.world.lasts_us[t]):
        r.tell(now, f"task {t} ends on node {n}, out of time or place")
    r.home[t] = FINISHED


def _nothing(r: _Reading, now: int, *_: int) -> None:
    """A refusal and the end of a request change no books."""


_READERS: dict[int, Callable[..., None]] = {
    F_HELD: _held, F_EXPIRED: _expired, F_PLACED: _placed, F_RELEASED: _released, F_FAILED: _failed, F_LOST: _lost,
    F_ENDED: _ended, F_REJECTED: _nothing, F_DROPPED: _nothing,
}  # fmt: skip
