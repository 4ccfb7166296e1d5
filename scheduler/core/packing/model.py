"""The CP-SAT model of one stage: how many pods of each class on each node.

Replicas are interchangeable, so a class is a count and not a set of booleans (arXiv 2511.08373 uses pod x node
booleans: 2.5 times the columns on its own benchmark, and every permutation of replicas as another solution).
One function per rule; those marked redundant only help the solver to prove.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ortools.sat.python import cp_model

from scheduler.core.packing.problem import Affinity, AntiAffinity, Ints, Small, Spread
from scheduler.core.packing.stage import Stage

Vars = list[list[Any]]
DIGITS = 53  # CP-SAT refuses coefficients near 2^63; larger demands are scaled down safely


class StageModel:
    """The model and its variables: count[k][f], and stay[k][f] of those that run there already."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.model = cp_model.CpModel()
        self.unit = 1
        shape = stage.most.shape
        self.count: Vars = [[0] * shape[1] for _ in range(shape[0])]
        self.stay: Vars = [[0] * shape[1] for _ in range(shape[0])]
        for k, f in zip(*np.nonzero(stage.most), strict=True):
            var = self.model.new_int_var(0, int(stage.most[k, f]), "")
            self.count[k][f] = var
            self.model.add_hint(var, int(stage.now[k, f]))
        self._flags: dict[tuple[str, int, int], Any] = {}
        add_supply(self)
        add_capacity(self)
        add_stays(self)
        add_floors(self)
        add_harm_limits(self)
        for anti in stage.antis:
            add_anti_affinity(self, anti)
        for affinity in stage.affinities:
            add_affinity(self, affinity)
        for spread in stage.spreads:
            add_topology_spread(self, spread)
        add_disruption_budgets(self)
        add_gangs(self)
        add_objective(self)

    def in_domain(self, classes: Small, domain: Small, d: int) -> Any:
        """Pods of these classes on the asked nodes of domain d."""
        return sum(self.count[k][f] for k in classes for f in np.flatnonzero(domain == d))

    def total(self, classes: Small) -> Any:
        """Pods of these classes on all asked nodes."""
        return sum(sum(self.count[k]) for k in classes)

    def is_new(self, k: int, domain: Small, d: int, key: str) -> Any:
        """A boolean that is true if any pod of class k is placed anew in domain d (false is then forbidden)."""
        if (key, k, d) not in self._flags:
            flag = self.model.new_bool_var("")
            for f in np.flatnonzero(domain == d):
                home, most = int(self.stage.home[k, f]), int(self.stage.most[k, f])
                if most > home:
                    self.model.add(self.count[k][f] <= home + (most - home) * flag)
            self._flags[key, k, d] = flag
        return self._flags[key, k, d]

    def counts(self, value: Any) -> Ints:
        """The counts of a solution; `value` reads a variable."""
        out = np.zeros(self.stage.most.shape, dtype=np.int64)
        for k, f in zip(*np.nonzero(self.stage.most), strict=True):
            out[k, f] = value(self.count[k][f])
        return out


def add_supply(m: StageModel) -> None:
    """No more pods than there are."""
    for k, supply in enumerate(m.stage.supply):
        m.model.add(sum(m.count[k]) <= int(supply))


def add_capacity(m: StageModel) -> None:
    """Requests on a node fit what is allocatable there."""
    stage = m.stage
    for r in range(stage.room.shape[1]):
        users = np.flatnonzero(stage.demand[:, r])
        shift = max(0, int(stage.room[:, r].max(initial=0)).bit_length() - DIGITS)
        for f in range(len(stage.nodes)):
            terms = [-(-int(stage.demand[k, r]) >> shift) * m.count[k][f] for k in users if stage.most[k, f]]
            if terms:
                m.model.add(sum(terms) <= max(0, int(stage.room[f, r])) >> shift)


def add_stays(m: StageModel) -> None:
    """A pod stays if its class still has it where it runs."""
    for k, f in zip(*np.nonzero(np.minimum(m.stage.home, m.stage.most)), strict=True):
        most = int(min(m.stage.home[k, f], m.stage.most[k, f]))
        var = m.model.new_int_var(0, most, "")
        m.model.add(var <= m.count[k][f])
        m.model.add_hint(var, min(most, int(m.stage.now[k, f])))
        m.stay[k][f] = var


def add_floors(m: StageModel) -> None:
    """More important tiers keep what they were given."""
    for tier, least in m.stage.floors:
        if least > 0:
            m.model.add(m.total(np.flatnonzero(m.stage.class_tier == tier).astype(np.int32)) >= least)


def _harm(m: StageModel, level: int) -> Any:
    ks = np.flatnonzero((m.stage.class_level <= level) & (m.stage.home.sum(axis=1) > 0))
    return sum(int(m.stage.cost[k]) * (int(m.stage.home[k].sum()) - sum(m.stay[k])) for k in ks)


def add_harm_limits(m: StageModel) -> None:
    """Running pods of the levels that are done are not disturbed for less important ones (no-harm)."""
    for level, limit in m.stage.harm_limits:
        m.model.add(_harm(m, level) <= limit)


def add_anti_affinity(m: StageModel, rule: AntiAffinity) -> None:
    """Required anti-affinity, in both directions.

    In a domain there is at most one kind of: a pod that repels its like (and then it is alone), pods that only repel,
    pods that are only repelled.
    """
    both = np.intersect1d(rule.owners, rule.targets)
    repel, repelled = np.setdiff1d(rule.owners, both), np.setdiff1d(rule.targets, both)
    for d in np.unique(rule.domain[rule.domain >= 0]):
        if rule.base_owners[d]:
            m.model.add(m.in_domain(rule.targets, rule.domain, d) == 0)
        if rule.base_targets[d]:
            m.model.add(m.in_domain(rule.owners, rule.domain, d) == 0)
        kinds = []
        for classes, most in ((both, 1), (repel, None), (repelled, None)):
            held = m.in_domain(classes, rule.domain, d)
            limit = int(m.stage.supply[classes].sum()) if most is None else most
            if isinstance(held, int):
                continue
            flag = m.model.new_bool_var("")
            m.model.add(held <= limit * flag)
            kinds.append(flag)
        m.model.add_at_most_one(kinds)


def add_affinity(m: StageModel, rule: Affinity) -> None:
    """Required affinity: whoever is placed anew finds a match that was there before, or opens the only domain."""
    size = len(rule.base)
    anchors_base = rule.base if rule.anchors is None else rule.anchors
    new_owners = np.zeros(size, np.int64) if rule.new_owners is None else rule.new_owners
    old_owners = np.zeros(size, np.int64) if rule.old_owners is None else rule.old_owners
    known = np.flatnonzero(rule.domain >= 0)
    everything = sum(m.count[k][f] for k in rule.targets for f in known) + int(rule.base.sum())
    most_all = int(m.stage.supply[rule.targets].sum() + rule.base.sum())
    for d in np.unique(np.concatenate([rule.domain[rule.domain >= 0], np.flatnonzero(new_owners + old_owners)])):
        fs = np.flatnonzero(rule.domain == d)
        here = m.in_domain(rule.targets, rule.domain, d) + int(rule.base[d])
        anchors = int(anchors_base[d])
        for k, early in zip(rule.targets, rule.early, strict=True):
            anchors = anchors + sum((m.count if early else m.stay)[k][f] for f in fs)
        is_asked = rule.owner >= 0  # an owner that is not asked about may still have been placed anew elsewhere
        enforce: Any = m.is_new(rule.owner, rule.domain, d, rule.name) if is_asked and not new_owners[d] else None
        if rule.matches_self:
            opens = m.model.new_bool_var("")
            m.model.add(everything - here <= most_all * (1 - opens))
            needed = anchors + opens >= 1
        else:
            needed = anchors >= 1
        if is_asked or new_owners[d]:
            _imply(m, enforce, needed)
        if not rule.matches_self and rule.keeps[d]:
            owners = sum(m.count[rule.owner][f] for f in fs) if is_asked else 0
            if old_owners[d]:
                _imply(m, None, here >= 1)
            elif not isinstance(owners, int):
                held = m.model.new_bool_var("")
                m.model.add(owners <= int(m.stage.supply[rule.owner]) * held)
                _imply(m, held, here >= 1)


def _imply(m: StageModel, flag: Any, needed: Any) -> None:
    """Post `needed` if `flag` (always, if None); a plain truth value counts as a constraint without variables."""
    if isinstance(needed, (bool, np.bool_)):
        if not needed:
            m.model.add_bool_or([] if flag is None else [flag.negated()])
        return
    constraint = m.model.add(needed)
    if flag is not None:
        constraint.only_enforce_if(flag)


def add_topology_spread(m: StageModel, rule: Spread) -> None:
    """DoNotSchedule spread: where a pod is placed anew the skew holds; nowhere does it get worse."""
    new_owners = np.zeros(len(rule.base), np.int64) if rule.new_owners is None else rule.new_owners
    domains = np.flatnonzero(rule.eligible)
    held = {int(d): m.in_domain(rule.targets, rule.domain, int(d)) + int(rule.base[d]) for d in domains}
    news = {
        int(d): m.is_new(rule.owner, rule.domain, int(d), rule.name)
        for d in domains
        if rule.owner >= 0
        and any(m.stage.most[rule.owner, f] > m.stage.home[rule.owner, f] for f in np.flatnonzero(rule.domain == d))
    }
    if not news and not new_owners.any():
        return
    lowest: Any = 0
    if not rule.too_few:
        lowest = m.model.new_int_var(0, int(m.stage.supply[rule.targets].sum() + rule.base.max(initial=0)), "")
        for d in held:
            m.model.add(lowest <= held[d])
    loosest = max(rule.max_skew, rule.present_skew)
    flags = list(news.values())
    moved: Any = None
    if not new_owners.any():
        moved = m.model.new_bool_var("")
        for flag in flags:
            m.model.add_implication(flag, moved)
    for d, there in held.items():
        _imply(m, moved, there - lowest <= loosest)
        if rule.max_skew < loosest or d in news or new_owners[d]:
            flag = None if new_owners[d] else news.get(d)
            if flag is not None or new_owners[d]:
                _imply(m, flag, there - lowest <= rule.max_skew)


def add_disruption_budgets(m: StageModel) -> None:
    """PodDisruptionBudgets: no more pods leave their node than the budget allows now."""
    for budget in m.stage.budgets:
        gone = sum(int(m.stage.home[k].sum()) - sum(m.stay[k]) for k in budget.classes)
        _imply(m, None, gone <= budget.allowed)


def add_gangs(m: StageModel) -> None:
    """A gang is placed whole (at least its minimum), or not beyond what runs of it already."""
    for gang in m.stage.gangs:
        placed = m.total(gang.classes)
        if isinstance(placed, int):
            continue
        whole = m.model.new_bool_var("")
        most = int(m.stage.supply[gang.classes].sum())
        m.model.add(placed >= gang.minimum).only_enforce_if(whole)
        if gang.base < 0:  # more of it is placed outside the question than it may have unless whole
            m.model.add(whole == 1)
        else:
            m.model.add(placed <= min(gang.base, most)).only_enforce_if(whole.negated())


def add_objective(m: StageModel) -> None:
    """Most pods of the tier, or least disruption; among equals, keep less important pods that run.

    `unit` is what one pod of the tier weighs: the bound on the tier is the objective's bound divided by it.
    """
    stage = m.stage
    if stage.tier is None:
        m.model.minimize(_harm(m, stage.harm_level))
        return
    lower = np.flatnonzero((stage.class_tier > stage.tier) & (stage.home.sum(axis=1) > 0))
    m.unit = 1 + int(stage.home[lower].sum())
    wanted = np.flatnonzero(stage.class_tier == stage.tier).astype(np.int32)
    m.model.maximize(m.unit * m.total(wanted) + sum(sum(m.stay[k]) for k in lower))
