"""What the agents balance, and the books that the loops keep of it.

Tasks that ask for the same are of one *kind*: demand, nodes they may use, and the group that asks for different nodes.
A node has two sums against its capacity: what its tasks *requested*, with the room it holds, which says what more it
may take; and its *load*, which says whether it is overloaded. They are the same where nobody measures what tasks use;
a task that moves takes its demand off both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.core.balance.problem import WAITING
from scheduler.core.columns import Codes, Ints, Mask, check_amounts, check_codes, check_column
from scheduler.core.compiled import compiled

FINISHED = -3
NOBODY = -1
FOREVER = np.iinfo(np.int64).max
Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """What runs where, N nodes, R resources, K kinds, T tasks, M masks. Row order breaks ties.

    capacity: (N, R). up: (N,). demand: (K, R). mask: (K,) row of `eligible`, -1 for any node. group: (K,) tasks of one
    group never meet on a node that they go to, -1 for none. eligible: (M, N). kind: (T,). home: (T,) row of the node,
    WAITING for none. cost: (T,) of moving it. movable: (T,). priority: (T,) of those submitted at one instant, the
    higher asks first. lasts_us: (T,) from its start, or from the window's for what runs; FOREVER for no end.
    load, requested: (N, R) what counts on each node, None for the demand of its tasks. Raises StowageInputError.
    """

    capacity: Ints
    up: Mask
    demand: Ints
    mask: Codes
    group: Codes
    eligible: Mask
    kind: Codes
    home: Codes
    cost: Ints
    movable: Mask
    priority: Ints
    lasts_us: Ints
    load: Ints | None = None
    requested: Ints | None = None

    def __post_init__(self) -> None:
        n, r = self.capacity.shape if self.capacity.ndim == 2 else (len(self.capacity), 0)
        k, t = len(self.demand), len(self.kind)
        check_amounts("capacity", self.capacity, (n, r))
        check_column("up", self.up, (n,), np.bool_)
        check_amounts("demand", self.demand, (k, r))
        check_column("eligible", self.eligible, (len(self.eligible), n), np.bool_)
        check_codes("mask", self.mask, k, len(self.eligible), lowest=NOBODY)
        check_codes("group", self.group, k, max(k, 1), lowest=NOBODY)
        check_codes("kind", self.kind, t, k, lowest=0)
        check_codes("home", self.home, t, n, lowest=WAITING)
        for what, column in (("cost", self.cost), ("priority", self.priority), ("lasts_us", self.lasts_us)):
            check_amounts(what, column, (t,))
        check_column("movable", self.movable, (t,), np.bool_)
        for what, amounts in (("load", self.load), ("requested", self.requested)):
            if amounts is not None:
                check_amounts(what, amounts, (n, r))


class Books(NamedTuple):
    """The truth, as the loops change it. Tasks of a node are a list: `first_task`, `after`, `before`."""

    capacity: Ints  # (N, R)
    booked: Ints  # (N, R) requested by its tasks, and held
    load: Ints  # (N, R)
    leaving: Ints  # (N, R) of the load, by tasks that run elsewhere already and will be taken off the books
    up: Mask  # (N,)
    first_task: Codes  # (N,)
    inbound: Ints  # (N,) cost of what was moved there, as its link still carries it
    scarcity: Floats  # (N,)
    chain: Codes  # (N,) forced placements that led to its overload
    demand: Ints  # (K, R)
    mask: Codes  # (K,)
    group: Codes  # (K,)
    eligible: Mask  # (M, N)
    occupied: Bits  # (G, ceil(N / 8)) bit set: a task of the group is there, or room is held for one
    kind: Codes  # (T,)
    home: Codes  # (T,) node, WAITING or FINISHED
    cost: Ints  # (T,)
    movable: Mask  # (T,)
    lasts_us: Ints  # (T,)
    after: Codes  # (T,)
    before: Codes  # (T,)
    request: Codes  # (T,) row of the request that is under way for it, or NOBODY
    starts: Codes  # (T,) how often it was started, so that an old end is known


def make_books(world: World) -> Books:
    """The books at the start: a copy, so that the world stays as it is."""
    n, t = len(world.capacity), len(world.kind)
    runs = np.flatnonzero(world.home != WAITING)
    sums = np.zeros_like(world.capacity)
    np.add.at(sums, world.home[runs], world.demand[world.kind[runs]])
    books = Books(
        capacity=world.capacity.copy(),
        booked=(sums if world.requested is None else world.requested).copy(),
        load=(sums if world.load is None else world.load).copy(),
        leaving=np.zeros_like(sums),
        up=world.up.copy(),
        first_task=np.full(n, NOBODY, np.int32),
        inbound=np.zeros(n, np.int64),
        scarcity=find_scarcity(world.eligible, n),
        chain=np.zeros(n, np.int32),
        demand=world.demand,
        mask=world.mask,
        group=world.group,
        eligible=world.eligible,
        occupied=np.zeros((int(world.group.max(initial=-1)) + 1, -(-n // 8)), np.uint8),
        kind=world.kind,
        home=world.home.copy(),
        cost=world.cost,
        movable=world.movable,
        lasts_us=world.lasts_us,
        after=np.full(t, NOBODY, np.int32),
        before=np.full(t, NOBODY, np.int32),
        request=np.full(t, NOBODY, np.int32),
        starts=np.zeros(t, np.int32),
    )
    _list_tasks(books)
    return books


def find_scarcity(eligible: Mask, nodes: int) -> Floats:
    """(N,) how much a node is wanted by tasks that can use few: 0 to below 1.

    The mean over the masks of nodes of the share of the nodes that a mask forbids, where it allows this one.
    """
    if not eligible.size:
        return np.zeros(nodes)
    return np.asarray((eligible * (1.0 - eligible.mean(axis=1))[:, None]).mean(axis=0), np.float64)


@compiled
def _list_tasks(books: Books) -> None:
    for t in range(len(books.kind) - 1, -1, -1):
        n = books.home[t]
        if n >= 0:
            link(books, t, n)
            g = books.group[books.kind[t]]
            if g >= 0:
                books.occupied[g, n >> 3] |= np.uint8(1 << (n & 7))


@compiled
def link(books: Books, t: int, n: int) -> None:
    """Task `t` joins the list of node `n`."""
    head = books.first_task[n]
    books.after[t] = head
    books.before[t] = NOBODY
    if head >= 0:
        books.before[head] = t
    books.first_task[n] = t


@compiled
def unlink(books: Books, t: int, n: int) -> None:
    """Task `t` leaves the list of node `n`."""
    before, after = books.before[t], books.after[t]
    if before >= 0:
        books.after[before] = after
    else:
        books.first_task[n] = after
    if after >= 0:
        books.before[after] = before


@compiled
def may_go(books: Books, k: int, n: int) -> bool:
    """The rules that no room cures: the node is up, allowed, large enough when empty, and has none of the group."""
    if not books.up[n]:
        return False
    if books.mask[k] >= 0 and not books.eligible[books.mask[k], n]:
        return False
    for r in range(books.demand.shape[1]):
        if books.demand[k, r] > books.capacity[n, r]:
            return False
    g = books.group[k]
    return g < 0 or not (books.occupied[g, n >> 3] >> (n & 7)) & 1


@compiled
def has_room(books: Books, k: int, n: int) -> bool:
    """Whether the node takes one more of the kind: promised and loaded, a resource not asked for never refuses."""
    for r in range(books.demand.shape[1]):
        wanted = books.demand[k, r]
        if wanted > 0 and wanted + max(books.booked[n, r], books.load[n, r]) > books.capacity[n, r]:
            return False
    return True


@compiled
def take(books: Books, k: int, n: int) -> None:
    """Book one of the kind on the node."""
    for r in range(books.demand.shape[1]):
        books.booked[n, r] += books.demand[k, r]
        books.load[n, r] += books.demand[k, r]
    g = books.group[k]
    if g >= 0:
        books.occupied[g, n >> 3] |= np.uint8(1 << (n & 7))


@compiled
def give_back(books: Books, k: int, n: int) -> None:
    """Take one of the kind off the node's books; its task is in no list of it any more."""
    for r in range(books.demand.shape[1]):
        books.booked[n, r] -= books.demand[k, r]
        books.load[n, r] -= books.demand[k, r]
    g = books.group[k]
    if g >= 0 and not _is_group_there(books, g, n):
        books.occupied[g, n >> 3] &= np.uint8(0xFF ^ (1 << (n & 7)))


@compiled
def _is_group_there(books: Books, g: int, n: int) -> bool:
    t = books.first_task[n]
    while t >= 0:
        if books.group[books.kind[t]] == g:
            return True
        t = books.after[t]
    return False


@compiled
def overload_of(books: Books, n: int) -> float:
    """The node's overload: its load beyond what it has, as shares of that, over the resources."""
    over = 0.0
    for r in range(books.capacity.shape[1]):
        excess = books.load[n, r] - books.capacity[n, r]
        if excess > 0:
            over += excess / max(books.capacity[n, r], 1)
    return over


@compiled
def added_overload(books: Books, k: int, n: int) -> float:
    """By how much one more of the kind would overload the node more."""
    added = 0.0
    for r in range(books.capacity.shape[1]):
        room = max(books.capacity[n, r] - books.load[n, r], 0)
        added += max(books.demand[k, r] - room, 0) / max(books.capacity[n, r], 1)
    return added


@compiled
def relieved_overload(books: Books, k: int, n: int) -> float:
    """By how much the node would be overloaded less without one of the kind, once those that leave have left."""
    relieved = 0.0
    for r in range(books.capacity.shape[1]):
        excess = max(books.load[n, r] - books.leaving[n, r] - books.capacity[n, r], 0)
        relieved += min(books.demand[k, r], excess) / max(books.capacity[n, r], 1)
    return relieved
