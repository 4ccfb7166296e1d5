"""Which nodes a pod may use, and why not the others.

Every node gets the full set of reasons that refuse the pod, as bits, so that counts by reason do not depend on the
order of the checks. Sentences are written for one node at a time, on demand: a replay asks for millions of answers and
reads few of them.

A refusal is curable where evicting pods from the node could lift it: the node is large enough and only full. Taints,
labels, constraints and models stay as they are whoever runs there, and the pods of one job share one priority, so
none makes room for another. Kubernetes calls the rest UnschedulableAndUnresolvable.

What no table here knows (ports, volumes, affinity between pods, spreading) is not checked. A limit on the number of
pods of a node is an extended resource of which every pod asks for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.cluster import GPU, NO_DEVICE, NodeTable, PodTable
from scheduler.core.columns import Interned, Ints, Mask
from scheduler.core.rules import NAME_FIELD, UNSCHEDULABLE, Constraint, Expression, Rules, Term


class Reason(IntEnum):
    """Why a node refuses a pod; the number of its bit. Resource r has bit RESOURCE + r."""

    CORDONED = 0
    TAINT = 1
    SELECTOR = 2
    AFFINITY = 3
    CONSTRAINT = 4
    GPU_MODEL = 5
    DIFFERENT_MACHINE = 6
    GPU_DEVICE = 7
    RESOURCE = 8


_MOST_AXES: Final = 63 - Reason.RESOURCE


@dataclass(frozen=True, slots=True, eq=False)
class Refusals:
    """The answer for one pod and every node.

    reasons: (N,), the bits of all reasons that refuse the pod, 0 where it fits. incurable: (N,), those of them that no
    eviction lifts. axes: the resources, in the order of their bits.
    """

    reasons: Ints
    incurable: Ints
    axes: tuple[str, ...]

    @property
    def fits(self) -> Mask:
        """(N,), True where the pod may go."""
        return self.reasons == 0

    @property
    def is_curable(self) -> Mask:
        """(N,), True where the pod is refused, but evicting pods could make room for it."""
        return (self.reasons != 0) & (self.incurable == 0)

    def rule(self, bit: int) -> str:
        """The name of a reason: `taint`, `gpu-device`, ..., or that of the resource which is short."""
        return self.axes[bit - Reason.RESOURCE] if bit >= Reason.RESOURCE else _name(bit)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why one node refuses a pod."""

    rule: str
    sentence: str
    is_curable: bool


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason, over all nodes: how many it refuses, on how many an eviction could lift it, and one of them."""

    rule: str
    nodes: int
    curable: int
    example: str
    sentence: str


def refuse_nodes(nodes: NodeTable, pods: PodTable, pod: int, static: Ints | None = None) -> Refusals:
    """Why each node refuses that pod now.

    static: what `refuse_by_rules` gave for the pod's rules, if it was asked before; it depends on neither requests nor
    placements, and many pods share it. Raises ValueError if pods and nodes name different resources.
    """
    if nodes.axes != pods.axes or len(nodes.axes) > _MOST_AXES:
        raise ValueError(f"nodes have resources {nodes.axes}, pods {pods.axes}; they must agree, at most {_MOST_AXES}")
    fixed = refuse_by_rules(nodes, pods.rules[pods.rule[pod]]) if static is None else static
    if pods.different_machines[pod]:
        fixed = fixed | _bit(Reason.DIFFERENT_MACHINE, pods.mates(pod, len(nodes)))
    short, too_small = _refuse_by_resources(nodes, pods.demand[pod])
    total, count, milli = int(pods.demand[pod, GPU]), int(pods.gpus[pod]), int(pods.gpu_milli[pod])
    few, too_few = _refuse_by_devices(nodes, total, count, milli)
    return Refusals(fixed | short | few, fixed | too_small | too_few, nodes.axes)


def refuse_by_rules(nodes: NodeTable, rules: Rules) -> Ints:
    """(N,), the bits of the reasons that hold whatever runs on the nodes."""
    cordoned = nodes.unschedulable if rules.untolerated((UNSCHEDULABLE,)) else np.zeros(len(nodes), np.bool_)
    tainted = np.array([rules.untolerated(taints) is not None for taints in nodes.taint_sets] + [False])
    bits = _bit(Reason.CORDONED, cordoned) | _bit(Reason.TAINT, tainted[nodes.taint_set])
    for key, wanted in rules.selector:
        bits |= _bit(Reason.SELECTOR, ~_hold(nodes, Expression(key, "In", (wanted,))))
    if rules.affinity is not None:
        matched = [_match_term(nodes, term) for term in rules.affinity]
        bits |= _bit(Reason.AFFINITY, ~np.logical_or.reduce([np.zeros(len(nodes), np.bool_), *matched]))
    for constraint in rules.constraints:
        bits |= _bit(Reason.CONSTRAINT, ~_hold(nodes, constraint))
    if (models := rules.gpu_models) is not None:
        bits |= _bit(Reason.GPU_MODEL, ~_decide(nodes.gpu_model, lambda model: model in models))
    return bits


def explain_node(nodes: NodeTable, pods: PodTable, pod: int, node: int) -> tuple[Refusal, ...]:
    """Every reason why that node refuses that pod, in the order of their bits; none where it fits."""
    refusals = refuse_nodes(nodes, pods, pod)
    return tuple(
        Refusal(
            refusals.rule(bit),
            _sentence(nodes, pods, pod, node, bit),
            not int(refusals.incurable[node]) >> bit & 1,
        )
        for bit in _bits(int(refusals.reasons[node]))
    )


def explain(nodes: NodeTable, pods: PodTable, pod: int) -> tuple[Cause, ...]:
    """Why the pod does not fit where it does not, the reason that refuses most nodes first.

    A node refused for two reasons counts under both. The example is the first node, by name, that this reason alone
    refuses, or else the first that it refuses.
    """
    refusals = refuse_nodes(nodes, pods, pod)
    causes = []
    for bit in _bits(int(np.bitwise_or.reduce(refusals.reasons, initial=0))):
        refused = refusals.reasons >> bit & 1 == 1
        alone = np.flatnonzero(refusals.reasons == 1 << bit)
        example = int(alone[0] if len(alone) else np.flatnonzero(refused)[0])
        causes.append(
            Cause(
                refusals.rule(bit),
                int(refused.sum()),
                int((refused & (refusals.incurable >> bit & 1 == 0)).sum()),
                str(nodes.name[example]),
                _sentence(nodes, pods, pod, example, bit),
            )
        )
    return tuple(sorted(causes, key=lambda cause: -cause.nodes))


def _refuse_by_resources(nodes: NodeTable, demand: Ints) -> tuple[Ints, Ints]:
    """The bits of what is short, and of what even an empty node lacks. Who asks for nothing always gets it.

    Source: Kubernetes v1.36.2, pkg/scheduler/framework/plugins/noderesources/fit.go fitsRequest.
    """
    short, too_small = np.zeros((2, len(nodes)), np.int64)
    for r in np.flatnonzero(demand):
        bit = np.int64(1 << (Reason.RESOURCE + int(r)))
        size = nodes.allocatable[:, r]
        short |= np.where(demand[r] > size - nodes.requested[:, r], bit, 0)
        too_small |= np.where(demand[r] > size, bit, 0)
    return short, too_small


def _refuse_by_devices(nodes: NodeTable, total: int, count: int, milli: int) -> tuple[Ints, Ints]:
    """The bit where the devices cannot hold what their sum could, and where not even empty ones could.

    Where the sum is short already, the resource's own bit says so, and better.
    """
    if count == 0 or nodes.gpu_free.shape[1] == 0:
        none = np.zeros(len(nodes), np.int64)
        return none, none
    few = (nodes.gpu_free >= milli).sum(axis=1) < count
    too_few = ((nodes.gpu_free != NO_DEVICE).sum(axis=1) < count) & (total <= nodes.allocatable[:, GPU])
    return _bit(Reason.GPU_DEVICE, (few & (total <= nodes.free[:, GPU])) | too_few), _bit(Reason.GPU_DEVICE, too_few)


def _hold(nodes: NodeTable, rule: Expression | Constraint) -> Mask:
    """(N,), whether each node's label or attribute meets the rule."""
    column = nodes.labels.get(rule.key)
    if column is None:
        return np.full(len(nodes), rule.holds(None))
    return _decide(column, rule.holds)


def _decide(column: Interned, holds: Callable[[str | None], bool]) -> Mask:
    """Decide once per distinct value; code -1 finds the answer for no value at the end."""
    answers = np.array([holds(value) for value in (*column.values, None)])
    return answers[column.code]


def _match_term(nodes: NodeTable, term: Term) -> Mask:
    if not term.expressions and not term.fields:
        return np.zeros(len(nodes), np.bool_)
    matched = np.ones(len(nodes), np.bool_)
    for expression in term.expressions:
        matched &= _hold(nodes, expression)
    for field in term.fields:
        matched &= np.isin(nodes.name, field.values) == (field.operator == "In")
    return matched


def _bit(reason: Reason, where: NDArray[np.bool_]) -> Ints:
    return where.astype(np.int64) << int(reason)


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def _name(bit: int) -> str:
    return Reason(bit).name.lower().replace("_", "-")


def _sentence(nodes: NodeTable, pods: PodTable, pod: int, node: int, bit: int) -> str:
    """The rule and the values that broke it, for one node that the reason refuses."""
    who, where = f"pod {pods.name[pod]}", f"node {nodes.name[node]}"
    rules = pods.rules[pods.rule[pod]]
    if bit >= Reason.RESOURCE:
        axis = bit - Reason.RESOURCE
        return (
            f"{who} asks for {pods.demand[pod, axis]} {nodes.axes[axis]}; {where} has {nodes.free[node, axis]} free of "
            f"{nodes.allocatable[node, axis]}"
        )
    match Reason(bit):
        case Reason.CORDONED:
            return f"{where} is cordoned, and {who} does not tolerate {UNSCHEDULABLE}"
        case Reason.TAINT:
            taint = rules.untolerated(nodes.taint_sets[nodes.taint_set[node]])
            return f"{who} does not tolerate taint {taint} of {where}"
        case Reason.SELECTOR:
            wrong = [(key, value) for key, value in rules.selector if _label(nodes, node, key) != value]
            key, value = wrong[0]
            return f"{who} selects {key}={value}; {where} has {_has(nodes, node, key)}"
        case Reason.AFFINITY:
            terms = " or ".join(map(str, rules.affinity or ())) or "nothing"
            return f"the node affinity of {who} accepts {terms}; {where} has {_has_all(nodes, node, rules.affinity)}"
        case Reason.CONSTRAINT:
            broken = next(one for one in rules.constraints if not one.holds(_label(nodes, node, one.key)))
            return f"{who} needs {broken}; {where} has {_has(nodes, node, broken.key)}"
        case Reason.GPU_MODEL:
            models = " or ".join(rules.gpu_models or ())
            return f"{who} can use a GPU of model {models}; {where} has {nodes.gpu_model.get(node) or 'none'}"
        case Reason.DIFFERENT_MACHINE:
            return f"{who} may not share a node with a pod of its job, and one runs on {where}"
        case _:
            milli, count = int(pods.gpu_milli[pod]), int(pods.gpus[pod])
            able = int((nodes.gpu_free[node] >= milli).sum())
            there = int((nodes.gpu_free[node] != NO_DEVICE).sum())
            return f"{who} needs {count} GPUs with {milli} milli free each; {where} has {able} of {there}"


def _label(nodes: NodeTable, node: int, key: str) -> str | None:
    column = nodes.labels.get(key)
    return None if column is None else column.get(node)


def _has(nodes: NodeTable, node: int, key: str) -> str:
    value = _label(nodes, node, key)
    return f"no {key}" if value is None else f"{key}={value}"


def _has_all(nodes: NodeTable, node: int, terms: tuple[Term, ...] | None) -> str:
    keys = dict.fromkeys(one.key for term in terms or () for one in term.expressions + term.fields)
    had = [NAME_FIELD + "=" + str(nodes.name[node]) if key == NAME_FIELD else _has(nodes, node, key) for key in keys]
    return ", ".join(had) or "no say in it"
