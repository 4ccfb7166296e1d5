"""What `stowage auction` prints and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analytics.auction.frontier import Point
from analytics.auction.mechanisms import Regret, Result
from analytics.auction.rounds import Round
from analytics.report import number, print_table
from scheduler.core.auction.explain import Explanation
from scheduler.core.auction.market import UNPLACED, Market, bid_of
from scheduler.core.auction.scores import dominant_shares

MOST_SHOWN = 10


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One run of the command. explained: of --explain."""

    made: Round
    result: Result
    regret: Regret
    frontier: Sequence[Point] = ()
    towards: str = ""
    explained: Explanation | None = None

    @property
    def revenue(self) -> float:
        """What is paid in all; as the published code counts it, once more times the demand, where its utility is."""
        paid = self.result.paid
        if self.made.paper is not None and self.made.utility == "as-run":
            paid = paid * self.made.terms.size
        return float(paid.sum())


def to_report(answer: Answer) -> dict[str, Any]:
    """The JSON object of the command."""
    made, result, regret = answer.made, answer.result, answer.regret
    market, scores = made.market, result.scores
    bids = bid_of(market, result.at)
    found: dict[str, Any] = {
        "source": made.source,
        "notes": made.notes,
        "mechanism": result.asked.mechanism,
        "utility": made.utility or None,
        "per_node": "one" if market.exclusive else "many",
        "seed": result.asked.seed,
        "requests": len(market.requests),
        "nodes": len(market.nodes),
        "tenants": len(market.tenants),
        "feasible_pairs": int(market.fits().sum()),
        "winners": int((result.at != UNPLACED).sum()),
        "efficiency": scores.efficiency,
        "satisfaction": scores.satisfaction,
        "placed": scores.placed,
        "welfare": scores.welfare,
        "bound": regret.bound,
        "gap": regret.gap,
        "verdict": regret.verdict,
        "regret": {"optimum": regret.optimum, "at_least": regret.at_least, "at_most": regret.at_most},
        "revenue": answer.revenue,
        "paid": float(result.paid.sum()),
        "jain_requests": scores.jain_requests,
        "jain_tenants": scores.jain_tenants,
        "least_tenant": scores.least_tenant,
        "cpu_s": result.cpu_s,
        "allocation": [
            {
                "request": str(market.requests[j]), "tenant": market.tenants[market.tenant[j]],
                "node": str(market.nodes[result.at[j]]), "bid": float(bids[j]), "pays": float(result.paid[j]),
            }
            for j in np.flatnonzero(result.at != UNPLACED).tolist()
        ],
        "charges": dict(zip(market.tenants, result.charge.tolist(), strict=True)),
        "dominant_shares": dict(zip(market.tenants, dominant_shares(market, result.at).tolist(), strict=True)),
        "prices": _prices(market, result),
    }  # fmt: skip
    if result.clarke is not None:
        found["charges_slack"] = dict(zip(market.tenants, result.clarke.slack.tolist(), strict=True))
        found["charges_cpu_s"] = result.charges_cpu_s
    if result.over_demand is not None:
        found["over_demand"] = result.over_demand
    if answer.frontier:
        found["frontier"] = {"towards": answer.towards, "points": [point.as_dict() for point in answer.frontier]}
    if answer.explained is not None:
        found["explanation"] = {**asdict(answer.explained), "text": answer.explained.text}
    return found


def _prices(market: Market, result: Result) -> dict[str, dict[str, float]]:
    """By node: `node`, for it as a whole (or per unit of size), and a unit of each resource that has a price."""
    found = {}
    for n, name in enumerate(market.nodes.tolist()):
        own = {"node": float(result.price[n])} if result.price[n] else {}
        units = zip(market.resources, result.unit_price[n].tolist(), strict=True)
        found[name] = own | {resource: price for resource, price in units if price}
    return found


def print_answer(answer: Answer) -> None:
    """Tables for people: the figures, the largest winners, the dearest nodes, the tenants, the frontier."""
    report = to_report(answer)
    counts = ", ".join(f"{report[what]:,} {what}" for what in ("requests", "nodes", "tenants"))
    print(f"{report['source']}: {counts}")
    for note in report["notes"]:
        print(f"note: {note}")
    shown = [
        ("mechanism", report["mechanism"]),
        ("requests per node", report["per_node"]),
        ("feasible pairs", number(report["feasible_pairs"])),
        ("winners", number(report["winners"])),
        ("efficiency", f"{report['efficiency']:.6g}"),
        ("satisfaction", f"{report['satisfaction']:.4f}"),
        *((f"placed, {name}", f"{share:.4f}") for name, share in report["placed"].items()),
        ("welfare", number(report["welfare"])),
        ("bound, gap", f"{number(report['bound'])}, {report['gap']:.2e} ({report['verdict']})"),
        ("regret, between", " and ".join(number(report["regret"][end]) for end in ("at_least", "at_most"))),
        ("revenue", f"{report['revenue']:.2f}"),
        ("Jain over requests, tenants", f"{report['jain_requests']:.3f}, {report['jain_tenants']:.3f}"),
        ("least served tenant", f"{report['least_tenant']:.3f}"),
        *((("unserved of those who want room", f"{report['over_demand']:.4f}"),) if "over_demand" in report else ()),
        ("CPU s", f"{report['cpu_s']:.2f}"),
        *((("CPU s of the charges", f"{report['charges_cpu_s']:.2f}"),) if "charges_cpu_s" in report else ()),
    ]
    print_table("", ["", ""], [[name, str(value)] for name, value in shown])
    _print_top(
        "winners, highest bid first", ["request", "tenant", "node", "bid", "pays"],
        [
            [one["request"], one["tenant"], one["node"], number(one["bid"]), number(one["pays"])]
            for one in sorted(report["allocation"], key=lambda one: (-one["bid"], one["request"]))
        ],
    )  # fmt: skip
    _print_tenants(report)
    prices = sorted(report["prices"].items(), key=lambda item: (-sum(item[1].values()), item[0]))
    _print_top(
        "prices", ["node", "price"],
        [[name, ", ".join(f"{what} {number(price)}" for what, price in one.items())] for name, one in prices if one],
    )  # fmt: skip
    if answer.frontier:
        print_frontier(answer.frontier, answer.towards)
    if answer.explained is not None:
        print(answer.explained.text)


def _print_tenants(report: dict[str, Any]) -> None:
    """What tenants pay, by how much that may be too little where it is not proved, and what they hold."""
    slack, held = report.get("charges_slack", {}), report["dominant_shares"]
    columns = ["tenant", "pays", *(["may owe up to"] if any(slack.values()) else []), "dominant share"]
    rows = []
    for name, paid in sorted(report["charges"].items(), key=lambda item: (-item[1], item[0])):
        more = [number(paid + slack[name])] if any(slack.values()) else []
        if paid or held[name]:
            rows.append([name, number(paid), *more, f"{held[name]:.4f}"])
    _print_top("tenants, highest charge first", columns, rows)


def print_frontier(points: Sequence[Point], towards: str) -> None:
    """One row per point."""
    columns = ["weight", "efficiency", "satisfaction", "placed", "Jain, tenants", "gap", "CPU s"]
    rows = [
        [
            f"{one.weight:.3f}", f"{one.scores.efficiency:.4f}", f"{one.scores.satisfaction:.4f}", f"{one.placed:.4f}",
            f"{one.scores.jain_tenants:.4f}", f"{one.gap:.1e}", f"{one.cpu_s:.1f}",
        ]
        for one in points
    ]  # fmt: skip
    print_table(f"frontier towards {towards}", columns, rows)


def _print_top(title: str, columns: list[str], rows: list[list[str]]) -> None:
    if rows:
        more = f" ({MOST_SHOWN} of {len(rows):,}; --json has all)" if len(rows) > MOST_SHOWN else ""
        print_table(title + more, columns, rows[:MOST_SHOWN])
