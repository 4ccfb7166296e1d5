"""A round of bidding as a file of our own: `{"kind": "StowageMarket", "version": 1, ...}`.

    {
      "kind": "StowageMarket", "version": 1,
      "nodes": [{"name": "n1", "room": {"cpu": 4000, "gpu": 2}, "cost": 1.0}],
      "tenants": ["red", "blue"],
      "requests": [
        {"name": "r1", "tenant": "red", "demand": {"cpu": 1000}, "bid": 3.5, "priority": 2},
        {"name": "r2", "tenant": "blue", "demand": {"gpu": 1}, "bids": {"n1": 8.0}, "budget": 6.0, "gang": "g"}
      ]
    }

Names are printable, amounts whole numbers in any unit, money is at most 10^15. `bid` is for every node that can hold
the request, `bids` for those named; one of the two. A budget caps every bid; a bid of 0 pays nothing, and takes what
is left over only from rules that give it away: `exact` leaves it out, as it adds nothing. `cost` (default 1),
`priority` (default 0) are for the rules that know them. `tenants` may be left out; where it stands, no other may bid.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from analytics.errors import InputError
from scheduler.core.auction.market import Market
from scheduler.core.auction.terms import Terms, terms_of

KIND = "StowageMarket"
MOST_MONEY = 1e15  # above it a sum of bids has no cents, and one of very large bids no end


class NodeEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A node for sale."""

    name: str
    room: dict[str, int]
    cost: float = 1.0


class RequestEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A request and its bids."""

    name: str
    tenant: str
    demand: dict[str, int]
    bid: float | None = None
    bids: dict[str, float] | None = None
    budget: float | None = None
    priority: int = 0
    gang: str = ""


class MarketEntry(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file."""

    kind: Literal["StowageMarket"]
    version: Literal[1]
    nodes: list[NodeEntry]
    requests: list[RequestEntry]
    tenants: list[str] | None = None


def read_market(path: Path, content: Any, *, exclusive: bool) -> tuple[Market, Terms, list[str]]:
    """The round in this JSON object, its terms, and what the reader should know.

    Raises InputError naming the file, the object and the rule.
    """
    try:
        entry = msgspec.convert(content, MarketEntry)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {error}") from error
    reading = _Reading(path, entry)
    return *reading.build(exclusive), reading.notes()


class _Reading:
    """The file's entries, sorted, with what is wrong said in its words."""

    def __init__(self, path: Path, entry: MarketEntry) -> None:
        self.path = path
        self.nodes = sorted(entry.nodes, key=lambda node: node.name)
        self.requests = sorted(entry.requests, key=lambda request: request.name)
        named = {name for node in self.nodes for name in node.room}
        self.resources = tuple(sorted(named | {name for one in self.requests for name in one.demand}))
        self.tenants = tuple(sorted(set(entry.tenants or ()) | {one.tenant for one in self.requests}))
        for what, names in (("node", self.nodes), ("request", self.requests)):
            self._check_names(what, [one.name for one in names])
        self._check_names("tenant", list(self.tenants))
        for node in self.nodes:
            self._check_amounts(f"node {node.name!r}", node.room)
            self._check_money(f"the cost of node {node.name!r}", node.cost)
        for one in self.requests:
            self._check_request(one, entry.tenants)

    def build(self, exclusive: bool) -> tuple[Market, Terms]:
        room = self._columns([node.room for node in self.nodes])
        demand = self._columns([one.demand for one in self.requests])
        offers = [self._offers(one, demand[j], room) for j, one in enumerate(self.requests)]
        gangs: dict[str, int] = {}
        market = Market(
            nodes=np.array([node.name for node in self.nodes], np.str_),
            room=room,
            requests=np.array([one.name for one in self.requests], np.str_),
            demand=demand,
            resources=self.resources,
            tenants=self.tenants,
            tenant=np.array([self.tenants.index(one.tenant) for one in self.requests], np.int32),
            first=np.cumsum([0, *map(len, offers)]).astype(np.int64),
            node=np.array([n for one in offers for n in sorted(one)], np.int32),
            value=np.array([one[n] for one in offers for n in sorted(one)], np.float64),
            gang=np.array(
                [gangs.setdefault(one.gang, len(gangs)) if one.gang else -1 for one in self.requests], np.int32
            ),
            unlisted=np.zeros(len(self.requests)),
            exclusive=exclusive,
        )
        terms = terms_of(market, np.array([one.priority for one in self.requests], np.int64))
        return market, replace(terms, cost=np.array([node.cost for node in self.nodes], np.float64))

    def notes(self) -> list[str]:
        """Resources that somebody asks for and no node has: a wrong name looks like that."""
        sold = {name for node in self.nodes for name in node.room}
        found = []
        for name in self.resources:
            asking = sum(bool(one.demand.get(name)) for one in self.requests)
            if asking and name not in sold:
                found.append(f"no node has {name!r}: the requests that ask for it, {asking}, cannot win")
        return found

    def _offers(self, one: RequestEntry, demand: Any, room: Any) -> dict[int, float]:
        """Row of the node -> bid, at most the budget."""
        limit = math.inf if one.budget is None else one.budget
        if one.bids is None:
            holds = (demand <= room).all(axis=1)
            # One that nothing can hold bids in vain everywhere, so that an explanation can say what it lacks.
            return {n: min(one.bid or 0.0, limit) for n in np.flatnonzero(holds | ~holds.any()).tolist()}
        row = {node.name: n for n, node in enumerate(self.nodes)}
        return {row[name]: min(bid, limit) for name, bid in one.bids.items()}

    def _columns(self, rows: list[dict[str, int]]) -> Any:
        amounts = [[one.get(name, 0) for name in self.resources] for one in rows]
        return np.array(amounts, np.int64).reshape(len(rows), len(self.resources))

    def _check_request(self, one: RequestEntry, tenants: list[str] | None) -> None:
        where = f"request {one.name!r}"
        if tenants is not None and one.tenant not in tenants:
            self._refuse(f"{where}: there is no tenant {one.tenant!r}; `tenants` lists {', '.join(tenants) or 'none'}")
        if (one.bid is None) == (one.bids is None):
            self._refuse(f"{where} states {'both' if one.bids else 'neither'} of bid and bids; it takes one of them")
        known = {node.name for node in self.nodes}
        for name, bid in (one.bids or {}).items():
            if name not in known:
                self._refuse(f"{where} bids for node {name!r}, which is not in the file")
            self._check_money(f"the bid of {where} for node {name!r}", bid)
        if one.bid is not None:
            self._check_money(f"the bid of {where}", one.bid)
        if one.budget is not None:
            self._check_money(f"the budget of {where}", one.budget)
        self._check_amounts(where, one.demand)

    def _check_amounts(self, where: str, amounts: dict[str, int]) -> None:
        for name, amount in amounts.items():
            if not 0 <= amount < 2**53:
                self._refuse(f"{where}: {name} is {amount}; an amount is at least 0 and below 2^53")

    def _check_money(self, what: str, amount: float) -> None:
        if not 0 <= amount <= MOST_MONEY:
            self._refuse(f"{what} is {amount}; it is a finite number, at least 0 and at most {MOST_MONEY:g}")

    def _check_names(self, what: str, names: list[str]) -> None:
        for name, count in Counter(names).items():
            if not (name and name.isprintable()):
                self._refuse(f"a {what} is named {name!r}; a name has one printable character or more, and no other")
            if count > 1:
                self._refuse(f"{count} {what}s are named {name!r}; names are unique")

    def _refuse(self, rule: str) -> None:
        raise InputError(f"{self.path}: {rule}")
