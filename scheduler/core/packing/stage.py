"""One question for the exact solver: a stage of the search, on all nodes or on some of them.

What is not asked about is constant: pods that are held where they are, and everything on nodes outside the question.
The arrays are plain, so that the question travels to another process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scheduler.core.packing.problem import (
    Affinity,
    AntiAffinity,
    Bools,
    DisruptionBudget,
    Gang,
    Ints,
    Problem,
    Small,
    Spread,
    owner_of,
)


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Place the most pods of `tier`, or (tier is None) disturb least, under what earlier stages fixed.

    Rows of the matrices are the asked classes (K), columns the asked nodes (F); rules number classes by these rows.
    room: (F, R) left beside what is held. home, now, most: (K, F) pods that run there, that the incumbent puts there,
    and that may be there. supply: (K,) pods that can be placed here. floors: (tier, pods placed here at least).
    harm_limits: (level, cost): running pods of levels up to it are disturbed here at no more than this cost.
    """

    nodes: Small
    classes: Small
    room: Ints
    demand: Ints
    class_tier: Small
    class_level: Small
    cost: Ints
    home: Ints
    now: Ints
    most: Ints
    supply: Ints
    tier: int | None
    floors: tuple[tuple[int, int], ...]
    harm_limits: tuple[tuple[int, int], ...]
    harm_level: int
    antis: tuple[AntiAffinity, ...] = ()
    affinities: tuple[Affinity, ...] = ()
    spreads: tuple[Spread, ...] = ()
    budgets: tuple[DisruptionBudget, ...] = ()
    gangs: tuple[Gang, ...] = ()

    def value(self, counts: Ints) -> int:
        """What a placement achieves here: pods of the tier placed, or minus the cost of disruption."""
        if self.tier is not None:
            return int(counts[self.class_tier == self.tier].sum())
        gone = self.home.sum(axis=1) - np.minimum(self.home, counts).sum(axis=1)
        return -int((gone * self.cost)[self.class_level <= self.harm_level].sum())


def make_stage(
    problem: Problem,
    assign: Small,
    *,
    asked: Bools,
    absent: Bools,
    nodes: Small,
    tier: int | None,
    floors: dict[int, int],
    harm_limits: dict[int, int],
    harm_level: int,
) -> Stage:
    """The stage's question about the `asked` pods and `nodes`, with `assign` as the incumbent.

    asked: (M,) pods in question, whole classes. absent: (M,) pods left out of the
    world (less important ones). All others are held where they are. floors: tier -> pods placed in all.
    harm_limits: level -> cost in all.
    """
    pod_class, home = problem.pod_class, problem.home
    column = np.full(len(problem.nodes) + 1, -1, dtype=np.int32)  # the last entry serves node -1
    column[nodes] = np.arange(len(nodes), dtype=np.int32)
    classes = np.unique(pod_class[asked]).astype(np.int32)
    row = np.full(len(problem.tier), -1, dtype=np.int32)
    row[classes] = np.arange(len(classes), dtype=np.int32)
    here = asked & ((assign < 0) | (column[assign] >= 0))
    held = ~asked & ~absent & (assign >= 0) & (column[assign] >= 0)
    room = problem.capacity[nodes].copy()
    np.subtract.at(room, column[assign[held]], problem.demand[pod_class[held]])
    shape = (len(classes), len(nodes))
    supply = np.bincount(row[pod_class[here]], minlength=len(classes)).astype(np.int64)
    home_here = _matrix(shape, row, pod_class, column, home, asked)
    may = problem.allowed[problem.mask[classes]][:, nodes]
    levels = np.array(problem.level, dtype=np.int32)
    tiers = problem.pod_tier
    elsewhere = np.bincount(tiers[~here & ~absent & (assign >= 0)], minlength=len(problem.priority))
    # disruption that the question cannot undo: running pods whose home is outside it, or that are held
    gone = (home >= 0) & (assign != home) & ~absent & ~(asked & (column[home] >= 0))
    spent = np.zeros(len(problem.priority) + 1, dtype=np.int64)
    np.add.at(spent, levels[tiers[gone]], problem.cost[pod_class[gone]])
    stage = Stage(
        nodes=nodes,
        classes=classes,
        room=room,
        demand=problem.demand[classes],
        class_tier=problem.tier[classes],
        class_level=levels[problem.tier[classes]],
        cost=problem.cost[classes],
        home=home_here,
        now=_matrix(shape, row, pod_class, column, assign, asked),
        most=np.where(may, supply[:, None], np.minimum(home_here, supply[:, None])),
        supply=supply,
        tier=tier,
        floors=tuple((t, n - int(elsewhere[t])) for t, n in sorted(floors.items())),
        harm_limits=tuple((level, n - int(spent[: level + 1].sum())) for level, n in sorted(harm_limits.items())),
        harm_level=harm_level,
    )
    return _with_rules(problem, stage, assign, here, absent, row) if problem.has_rules else stage


def _matrix(shape: tuple[int, int], row: Small, pod_class: Small, column: Small, where: Small, pods: Bools) -> Ints:
    counts = np.zeros(shape, dtype=np.int64)
    some = pods & (where >= 0) & (column[where] >= 0)
    np.add.at(counts, (row[pod_class[some]], column[where[some]]), 1)
    return counts


def _with_rules(problem: Problem, stage: Stage, assign: Small, here: Bools, absent: Bools, row: Small) -> Stage:
    """The rules as seen from the asked nodes and classes; pods that are constant become part of `base`."""
    pod_class, home = problem.pod_class, problem.home
    constant = ~here & ~absent & (assign >= 0)
    stays = constant & (assign == home)
    new = constant & (assign != home)
    by_class = np.argsort(pod_class, kind="stable")
    ends = np.searchsorted(pod_class[by_class], np.arange(len(problem.tier) + 1))

    def pods_of(classes: Small) -> Small:
        return np.concatenate([by_class[ends[k] : ends[k + 1]] for k in classes] or [by_class[:0]]).astype(np.int32)

    def count(classes: Small, which: Bools, domain: Small, size: int) -> Ints:
        pods = pods_of(classes)
        pods = pods[which[pods]]
        found = domain[assign[pods]]
        return np.bincount(found[found >= 0], minlength=size).astype(np.int64)

    def asked(classes: Small) -> Small:
        rows = row[classes]
        return rows[rows >= 0]

    def restrict_anti(rule: AntiAffinity) -> AntiAffinity:
        size = len(rule.base_owners)
        return replace(
            rule,
            owners=asked(rule.owners),
            targets=asked(rule.targets),
            domain=rule.domain[stage.nodes],
            base_owners=rule.base_owners + count(rule.owners, constant, rule.domain, size),
            base_targets=rule.base_targets + count(rule.targets, constant, rule.domain, size),
        )

    def restrict_affinity(rule: Affinity) -> Affinity:
        size, owner = len(rule.base), owner_of(rule)
        late = rule.targets[~rule.early]
        return replace(
            rule,
            owner=int(row[rule.owner]) if rule.owner >= 0 else -1,
            targets=asked(rule.targets),
            early=rule.early[row[rule.targets] >= 0],
            domain=rule.domain[stage.nodes],
            base=rule.base + count(rule.targets, constant, rule.domain, size),
            anchors=rule.base
            + count(rule.targets[rule.early], constant, rule.domain, size)
            + count(late, stays, rule.domain, size),
            new_owners=count(owner, new, rule.domain, size),
            old_owners=count(owner, stays, rule.domain, size) if rule.owner >= 0 else rule.keeps.astype(np.int64),
        )

    def restrict_spread(rule: Spread) -> Spread:
        size, owner = len(rule.base), owner_of(rule)
        return replace(
            rule,
            owner=int(row[rule.owner]),
            targets=asked(rule.targets),
            domain=rule.domain[stage.nodes],
            base=rule.base + count(rule.targets, constant, rule.domain, size),
            new_owners=count(owner, new, rule.domain, size),
        )

    column = np.zeros(len(problem.nodes) + 1, dtype=bool)
    column[stage.nodes] = True
    gone = (home >= 0) & (assign != home) & ~column[home] & ~absent

    def concerns(*classes: Small) -> bool:
        """Whether an asked class is among these; rules between constants alone cannot change."""
        return any((row[some] >= 0).any() for some in classes)

    return replace(
        stage,
        antis=tuple(restrict_anti(rule) for rule in problem.antis if concerns(rule.owners, rule.targets)),
        affinities=tuple(restrict_affinity(r) for r in problem.affinities if concerns(owner_of(r), r.targets)),
        spreads=tuple(restrict_spread(r) for r in problem.spreads if concerns(owner_of(r), r.targets)),
        budgets=tuple(
            replace(b, classes=asked(b.classes), allowed=b.allowed - int(gone[pods_of(b.classes)].sum()))
            for b in problem.budgets
            if concerns(b.classes)
        ),
        gangs=tuple(
            replace(
                g,
                classes=asked(g.classes),
                minimum=g.minimum - int(constant[pods_of(g.classes)].sum()),
                base=g.base - int(constant[pods_of(g.classes)].sum()),
            )
            for g in problem.gangs
            if concerns(g.classes)
        ),
    )
