"""Whether a placement keeps the rules between pods; the heuristics' own check, pod by pod.

The exact model states the same rules as constraints, and the validator restates them from the snapshot.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.packing.problem import (
    Affinity,
    AntiAffinity,
    DisruptionBudget,
    Gang,
    Ints,
    Problem,
    Small,
    Spread,
    owner_of,
)

Rule = AntiAffinity | Affinity | Spread | DisruptionBudget | Gang


class RuleBook:
    """The rules of a problem, found by the classes they bind."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rules: tuple[Rule, ...] = (
            *problem.antis,
            *problem.affinities,
            *problem.spreads,
            *problem.budgets,
            *problem.gangs,
        )
        order = np.argsort(problem.pod_class, kind="stable").astype(np.int32)
        ends = np.searchsorted(problem.pod_class[order], np.arange(len(problem.tier) + 1))
        self._pods = [order[ends[k] : ends[k + 1]] for k in range(len(problem.tier))]
        self.of_class: list[list[Rule]] = [[] for _ in range(len(problem.tier))]
        for rule in self.rules:
            for k in np.unique(classes_of(rule)):
                self.of_class[int(k)].append(rule)

    def pods(self, classes: Small) -> Small:
        """Pods of these classes."""
        return np.concatenate([self._pods[k] for k in classes]) if len(classes) else np.zeros(0, np.int32)

    def broken(self, assign: Small, rules: tuple[Rule, ...] | list[Rule] | None = None) -> list[Rule]:
        """The rules (all, if None) that the placement breaks."""
        return [rule for rule in (self.rules if rules is None else rules) if not self.keeps(rule, assign)]

    def touched(self, assign: Small, before: Small) -> list[Rule]:
        """The rules that bind a pod placed differently in the two placements."""
        classes = np.unique(self.problem.pod_class[assign != before])
        return list({id(rule): rule for k in classes for rule in self.of_class[k]}.values())

    def keeps(self, rule: Rule, assign: Small) -> bool:
        """Whether the placement keeps this rule."""
        if isinstance(rule, AntiAffinity):
            return self._keeps_anti_affinity(rule, assign)
        if isinstance(rule, Affinity):
            return self._keeps_affinity(rule, assign)
        if isinstance(rule, Spread):
            return self._keeps_spread(rule, assign)
        if isinstance(rule, DisruptionBudget):
            pods = self.pods(rule.classes)
            home = self.problem.home[pods]
            return int(((home >= 0) & (assign[pods] != home)).sum()) <= rule.allowed
        placed = int((assign[self.pods(rule.classes)] >= 0).sum())
        return placed >= rule.minimum or placed <= rule.base

    def _count(self, pods: Small, domain: Small, assign: Small, size: int) -> Ints:
        nodes = assign[pods]
        found = domain[nodes[nodes >= 0]]
        return np.bincount(found[found >= 0], minlength=size).astype(np.int64)

    def _keeps_anti_affinity(self, rule: AntiAffinity, assign: Small) -> bool:
        size = len(rule.base_owners)
        both = np.intersect1d(rule.owners, rule.targets)
        alone = self._count(self.pods(both), rule.domain, assign, size)
        repel = self._count(self.pods(np.setdiff1d(rule.owners, both)), rule.domain, assign, size)
        repelled = self._count(self.pods(np.setdiff1d(rule.targets, both)), rule.domain, assign, size)
        if (alone > 1).any() or ((alone > 0).astype(int) + (repel > 0) + (repelled > 0) > 1).any():
            return False
        from_outside = (rule.base_owners > 0) & (alone + repelled > 0)
        to_outside = (rule.base_targets > 0) & (alone + repel > 0)
        return not (from_outside | to_outside).any()

    def _keeps_affinity(self, rule: Affinity, assign: Small) -> bool:
        size, home = len(rule.base), self.problem.home
        owners = self.pods(owner_of(rule))
        new = owners[(assign[owners] >= 0) & (assign[owners] != home[owners])]
        held = self._count(self.pods(rule.targets), rule.domain, assign, size) + rule.base
        all_targets = int(held.sum())
        if len(new):
            late = self.pods(rule.targets[~rule.early])
            anchors = rule.base + self._count(self.pods(rule.targets[rule.early]), rule.domain, assign, size)
            anchors = anchors + self._count(late[assign[late] == home[late]], rule.domain, assign, size)
            for d in np.unique(rule.domain[assign[new]]):
                opens = rule.matches_self and held[d] == all_targets
                if d < 0 or not (anchors[d] >= 1 or opens):
                    return False
        if not rule.matches_self:
            there = rule.owner < 0 or self._count(owners, rule.domain, assign, size) > 0
            return not (there & rule.keeps & (held == 0)).any()
        return True

    def _keeps_spread(self, rule: Spread, assign: Small) -> bool:
        owners, home = self.pods(owner_of(rule)), self.problem.home
        new = owners[(assign[owners] >= 0) & (assign[owners] != home[owners])]
        if len(new) == 0:
            return True
        held = self._count(self.pods(rule.targets), rule.domain, assign, len(rule.base)) + rule.base
        lowest = 0 if rule.too_few or not rule.eligible.any() else int(held[rule.eligible].min())
        skew = np.where(rule.eligible, held - lowest, 0)
        domains = np.unique(rule.domain[assign[new]])
        if (domains < 0).any() or (skew[domains] > rule.max_skew).any():
            return False
        return not (skew > max(rule.max_skew, rule.present_skew)).any()


def classes_of(rule: Rule) -> Small:
    """Classes that a rule binds."""
    if isinstance(rule, AntiAffinity):
        return np.concatenate([rule.owners, rule.targets])
    if isinstance(rule, (Affinity, Spread)):
        return np.append(rule.targets, owner_of(rule))
    return rule.classes
