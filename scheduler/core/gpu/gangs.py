"""Gangs on nodes: whole or not at all, inside topology domains, away from risk; and their repair in place.

A gang has members, one per node, each asking for GPUs of that node; what lies within a node (tensor parallelism) is the
member's own. Members form data-parallel groups of one size. A group never straddles a domain of the levels it names,
the type of NIC at least; the gang as a whole may have to lie within one domain of a wider level.

Every node has a price in GPU hours: the faults expected of it over the gang's length, times what a hit costs the whole
gang, plus whatever else the caller charges (a scarce node, a distant rack). So a large and long gang pays for safe
nodes and a small and short one takes what is cheap. Prices add up over nodes, and in a cell (the nodes that a group may
share) the k-th cheapest group costs no less than the one before. So taking the cheapest groups of all cells is not a
heuristic: it is the optimum. Ties go by the name of the domain, the cell and the node.

Not fitting is an answer: `NoRoom`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.errors import StowageInputError
from scheduler.core.taxonomy import Declared, Taxonomy

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
NOBODY = -1
DECLARED: Final[Mapping[str, Declared]] = {
    "cheapest-domain": Declared("The whole gang where risk and charges are least, proved.", Taxonomy(method="exact")),
}


@dataclass(frozen=True, slots=True, eq=False)
class GangNodes:
    """Nodes as columns; row n of every array is the same node.

    name: (N,), sorted and unique. gpus: (N,) int64, GPUs that are free and work: a partly broken node counts with what
    it has left. domains: level -> (N,) domain of each node ("leaf", "rack", "nic", ...). held_for: (N,) name of the
    gang that a node is reserved for, '' for none. Raises StowageInputError for columns that do not agree.
    """

    name: NDArray[np.str_]
    gpus: NDArray[np.int64]
    domains: Mapping[str, NDArray[np.str_]]
    held_for: NDArray[np.str_]

    def __post_init__(self) -> None:
        count = self.name.shape
        columns = {"gpus": self.gpus, "held_for": self.held_for, **self.domains}
        wrong = [f"{name} has shape {column.shape}" for name, column in columns.items() if column.shape != count]
        if wrong:
            raise StowageInputError(f"there are {len(self.name)} nodes, but {', '.join(wrong)}")
        if (self.name[1:] <= self.name[:-1]).any():
            raise StowageInputError("names of nodes are sorted and differ")


@dataclass(frozen=True, slots=True)
class Gang:
    """What a gang asks for.

    groups x group_size members of `gpus` each. apart: levels that a group may not straddle. within: level whose domain
    must hold the whole gang. length_h: how long it will run; loss_h: hours that a hit costs every GPU of it.
    """

    name: str
    groups: int
    group_size: int
    gpus: int
    length_h: float = 24.0
    loss_h: float = 0.2
    apart: tuple[str, ...] = ("nic",)
    within: str | None = None

    def __post_init__(self) -> None:
        if not self.name or min(self.groups, self.group_size, self.gpus) < 1:
            raise StowageInputError(f"a gang has a name, groups, members and GPUs, not {self}")
        if not (self.length_h > 0 and self.loss_h >= 0):
            raise StowageInputError(f"a gang runs above 0 h and loses 0 h or more, not {self.length_h}, {self.loss_h}")

    @property
    def members(self) -> int:
        """Nodes it runs on."""
        return self.groups * self.group_size

    def price(self, expected_faults: Floats) -> Floats:
        """(N,) GPU hours that this gang is expected to lose to each node."""
        return expected_faults * self.loss_h * self.gpus * self.members


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Where a gang runs.

    rows: (groups, group_size) rows of the nodes, NOBODY where a member has none (the gang is degraded). price: sum over
    the nodes it has, at the prices it was last placed with.
    """

    rows: Rows
    price: float

    @property
    def missing(self) -> int:
        """Members without a node."""
        return int((self.rows == NOBODY).sum())


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Why a gang does not fit. groups: how many of its groups would, in the best domain. by_domain: the same, each."""

    reason: str
    groups: int
    by_domain: Mapping[str, int] = field(default_factory=dict)


def place_gang(gang: Gang, nodes: GangNodes, price: Floats) -> Placed | NoRoom:
    """The cheapest place for the whole gang, proved, or why there is none.

    price: (N,) finite, as `Gang.price` plus the caller's own. Raises StowageInputError for an unknown level.
    """
    free, cell = _may_use(gang, nodes), _cells(gang, nodes)
    best: Placed | None = None
    fitting: dict[str, int] = {}
    for domain, inside in _domains(gang, nodes):
        rows, costs = _cheapest_groups(gang, cell, np.flatnonzero(free & inside), price)
        fitting[domain] = len(rows)
        if len(rows) >= gang.groups:
            total = float(costs[: gang.groups].sum())
            if best is None or total < best.price:
                best = Placed(rows[: gang.groups], total)
    if best is not None:
        return Placed(_neighbours_together(gang, cell, best.rows), best.price)
    most = max(fitting.values(), default=0)
    where = f"in one {gang.within}" if gang.within else "in all"
    apart = f" without straddling {', '.join(gang.apart)}" if gang.apart else ""
    return NoRoom(
        f"{most} of {gang.groups} groups of {gang.group_size} x {gang.gpus} GPUs fit {where}{apart}", most, fitting
    )


def replace_members(gang: Gang, placed: Placed, nodes: GangNodes, price: Floats) -> Placed:
    """The gang with nodes for its missing members, as many as there are spares for; all others stay where they are.

    A replacement comes from the domain that the gang is bound to and from the cell of its group, the cheapest first;
    where these are short, groups that miss least are made whole first. A group of which nothing is left goes to any
    cell that holds all of it, a gang of which nothing is left anywhere. `lose_members` gives up the broken nodes.
    """
    rows = placed.rows.copy()
    taken = rows[rows != NOBODY]
    if not taken.size:
        found = place_gang(gang, nodes, price)
        return found if isinstance(found, Placed) else placed
    free = _may_use(gang, nodes)
    free[taken] = False
    if gang.within is not None:
        domain = _column(nodes, gang.within)
        free &= domain == domain[taken[0]]
    cell = _cells(gang, nodes)
    order = sorted(range(gang.groups), key=lambda g: (int((rows[g] == NOBODY).sum()), g))
    for group in order:
        empty = np.flatnonzero(rows[group] == NOBODY)
        kept = rows[group][rows[group] != NOBODY]
        if not empty.size:
            continue
        usable = _cheapest_in_cell(gang, free, cell, price, kept)
        filled = usable[: empty.size]
        rows[group, empty[: filled.size]] = filled
        free[filled] = False
    held = rows[rows != NOBODY]
    return Placed(rows, float(price[held].sum()))


def _cheapest_in_cell(gang: Gang, free: NDArray[np.bool_], cell: NDArray[np.int64], price: Floats, kept: Rows) -> Rows:
    """Rows that a group may take more nodes from, cheapest first."""
    usable = np.flatnonzero(free if not kept.size else free & (cell == cell[kept[0]]))
    if not kept.size and usable.size:
        counts = np.bincount(cell[usable])
        whole = np.flatnonzero(counts >= gang.group_size)
        if not whole.size:
            return usable[:0]
        costs = [float(np.sort(price[usable[cell[usable] == c]])[: gang.group_size].sum()) for c in whole]
        usable = usable[cell[usable] == whole[int(np.argmin(costs))]]
    return usable[np.lexsort([usable, price[usable]])]


def lose_members(placed: Placed, lost: NDArray[np.bool_]) -> Placed:
    """The gang without the members whose node (by row, (N,)) is lost."""
    gone = (placed.rows != NOBODY) & lost[placed.rows]
    return Placed(np.where(gone, NOBODY, placed.rows), placed.price)


def lost_nodes(gang: Gang, placed: Placed, working_gpus: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) nodes that no longer carry their member: fewer GPUs of theirs work than it needs.

    working_gpus: (N,) of each node, whoever uses them. A node with fewer GPUs than it had keeps a member that needs no
    more than what is left.
    """
    is_member = np.zeros(working_gpus.size, np.bool_)
    is_member[placed.rows[placed.rows != NOBODY]] = True
    return is_member & (working_gpus < gang.gpus)


def reserve_lost(held_for: NDArray[np.str_], gang: Gang, lost: NDArray[np.bool_]) -> NDArray[np.str_]:
    """The reservations with the nodes that a degraded gang lost: when they are repaired, they are its own again."""
    return np.where(lost & (held_for == ""), gang.name, held_for)


def release_reserved(held_for: NDArray[np.str_], gang: Gang) -> NDArray[np.str_]:
    """The reservations without those of a gang that is whole again, or gone."""
    return np.where(held_for == gang.name, "", held_for)


def _may_use(gang: Gang, nodes: GangNodes) -> NDArray[np.bool_]:
    return (nodes.gpus >= gang.gpus) & ((nodes.held_for == "") | (nodes.held_for == gang.name))


def _column(nodes: GangNodes, level: str) -> NDArray[np.str_]:
    if level not in nodes.domains:
        known = ", ".join(sorted(nodes.domains)) or "none"
        raise StowageInputError(f"nodes have no topology level {level!r}; known are: {known}")
    return nodes.domains[level]


def _domains(gang: Gang, nodes: GangNodes) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The places that may hold the whole gang, by name."""
    if gang.within is None:
        yield "", np.ones(len(nodes.name), np.bool_)
        return
    column = _column(nodes, gang.within)
    for domain in np.unique(column).tolist():
        yield domain, column == domain


def _cells(gang: Gang, nodes: GangNodes) -> NDArray[np.int64]:
    """(N,) number of the cell of each node: nodes of one cell may share a group. Numbered in order of their names."""
    cell = np.zeros(len(nodes.name), np.int64)
    if not gang.apart:
        return cell
    for level in gang.apart:
        names, code = np.unique(_column(nodes, level), return_inverse=True)
        cell = cell * len(names) + code
    return np.unique(cell, return_inverse=True)[1]


def _cheapest_groups(gang: Gang, cell: Rows, rows: Rows, price: Floats) -> tuple[Rows, Floats]:
    """All groups that these nodes hold, cheapest first: their rows (G, group_size) and what each costs."""
    found: list[Rows] = []
    for one in np.unique(cell[rows]):
        mine = rows[cell[rows] == one]
        mine = mine[np.lexsort([mine, price[mine]])]
        whole = len(mine) // gang.group_size
        found.append(mine[: whole * gang.group_size].reshape(whole, gang.group_size))
    groups = np.concatenate(found) if found else np.zeros((0, gang.group_size), np.int64)
    costs = price[groups].sum(axis=1)
    order = np.argsort(costs, kind="stable")  # within a cell costs never fall, so a stable sort keeps its order
    return groups[order], costs[order]


def _neighbours_together(gang: Gang, cell: Rows, rows: Rows) -> Rows:
    """The same nodes, dealt to the groups of each cell by name: names tell who stands beside whom."""
    mine = cell[rows[:, 0]]
    dealt = [np.sort(rows[mine == one], axis=None).reshape(-1, gang.group_size) for one in np.unique(mine)]
    return np.concatenate(dealt)
