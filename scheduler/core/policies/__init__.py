"""Scoring policies: one file each, found by name.

A policy scores one feasible node for one pod; the highest score wins and the lowest row breaks ties. The score is a
compiled function with one fixed signature, so that a compiled replay loop can be handed any of them, and the live
extender runs the very same code.

To add a policy write one file here that ends in `POLICY = Policy(...)` and add its name to `_BUILT_IN`. To keep it in a
package of your own, name it in that package's entry-point group `stowage.policies` instead:
`my-policy = "my_package.my_module:POLICY"`. A family of policies that differ in a method is one file with
`policy_of(method)`, and its methods in `_FAMILIES`: each policy is called `family:method`.

Policies load when they are asked for: numba takes most of a second to import, and `stowage --help` should not.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal

from scheduler.core.balance.methods import METHODS
from scheduler.core.errors import StowageInputError
from scheduler.core.policies.parameters import Parameter
from scheduler.core.taxonomy import UNDECLARED, Taxonomy

SCORE_SIGNATURE: Final = "float64(int64[::1], int64[::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64, int64)"
"""`score(demand, demand_nonzero, allocatable, requested, requested_nonzero, node, draw)`.

demand: (R,), what the pod asks for. allocatable, requested: (N, R), what every node has and what its pods ask for,
without the incoming pod. Columns: CPU millicores, memory MiB, disk MiB, GPU milli, then named extended resources.
demand_nonzero: (2,), requested_nonzero: (N, 2): CPU and memory again, where a container that names no request counts
as kube-scheduler counts it (100 millicores, 200 MiB).
node: the row to score. draw: a seeded hash of the decision's number; the only source of chance a score may use.
Called only where the pod fits. Higher is better.
"""

ENTRY_POINT_GROUP: Final = "stowage.policies"

Order = Literal["priority", "dominant-share", "bid"]
Planner = Literal["packing", "auction", "rebalance", "agents", "freeness"]


@dataclass(frozen=True, slots=True)
class Policy:
    """A way to choose among the nodes on which a pod fits.

    score: made with `score_function`. needs_rescan: the score changes from decision to decision though the node does
    not, so it must not be cached. preempts: a pod that fits nowhere may displace pods of lower priority. planner: what
    the driver asks at fixed instants: "packing" for a plan when pods stay unschedulable, "auction" for a round,
    "rebalance", "agents" and "freeness" for migrations; or None. method: the balancer's, where there are several.
    parameters: what of the planner can be set. order: who is served first, the most important pod; the tenant with the
    least dominant share, and its most important pod; or the highest bid, as the auction's rounds say. Then the
    earliest.
    """

    name: str
    summary: str
    score: Callable[..., float]
    needs_rescan: bool = False
    preempts: bool = False
    planner: Planner | None = None
    method: str = ""
    parameters: tuple[Parameter, ...] = ()
    order: Order = "priority"
    taxonomy: Taxonomy = UNDECLARED

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*(:[a-z0-9]+(-[a-z0-9]+)*)?", self.name):
            raise StowageInputError(
                f"policy name {self.name!r} is not lower-case words joined by hyphens, and at most one colon"
            )
        if not self.summary.strip() or "\n" in self.summary:
            raise StowageInputError(f"policy {self.name} needs a summary of one line")
        if not _has_score_signature(self.score):
            raise StowageInputError(
                f"the score of policy {self.name} is not compiled as {SCORE_SIGNATURE}; "
                "decorate it with scheduler.core.policies.score_function"
            )


def score_function(function: Callable[..., float]) -> Callable[..., float]:
    """Compile a score with the signature every policy shares."""
    from scheduler.core.compiled import compile_with

    return compile_with(function, SCORE_SIGNATURE, error_model="numpy")


_BUILT_IN: Final = {
    "agents": "agents",
    "auction": "auction",
    "best-fit": "best_fit",
    "dot-product": "dot_product",
    "drf": "drf",
    "first-fit": "first_fit",
    "freeness": "freeness",
    "kube-default": "kube_default",
    "most-allocated": "most_allocated",
    "packing": "packing",
    "random": "random",
    "worst-fit": "worst_fit",
}
# The central balancing methods, but for the full scan, which is for tiny cases.
_FAMILIES: Final = {"rebalance": tuple(sorted(set(METHODS) - {"full-scan"}))}


def policy_names() -> tuple[str, ...]:
    """Every name `get_policy` knows, sorted: built in, and from installed packages. Loads none of them."""
    return tuple(sorted({*_BUILT_IN, *_members(), *_installed()}))


def get_policy(name: str) -> Policy:
    """The policy of that name.

    Raises StowageInputError if there is none, listing those there are, or if an installed package's policy is broken.
    """
    if name in _BUILT_IN:
        policy: Policy = importlib.import_module(f"{__name__}.{_BUILT_IN[name]}").POLICY
        return policy
    if name in _members():
        family, _, method = name.partition(":")
        member: Policy = importlib.import_module(f"{__name__}.{family}").policy_of(method)
        return member
    if name in (installed := _installed()):
        return _load(name, installed[name])
    known = policy_names()
    near = difflib.get_close_matches(name.lower().replace("_", "-"), known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise StowageInputError(f"no policy is named {name!r}.{hint} Known: {', '.join(known)}")


class _Policies(Mapping[str, Policy]):
    """All policies by name; each loads when it is first looked up."""

    def __getitem__(self, name: str) -> Policy:
        if name not in policy_names():
            raise KeyError(name)
        return get_policy(name)

    def __iter__(self) -> Iterator[str]:
        return iter(policy_names())

    def __len__(self) -> int:
        return len(policy_names())


POLICIES: Final[Mapping[str, Policy]] = _Policies()


def _members() -> list[str]:
    return [f"{family}:{method}" for family, methods in _FAMILIES.items() for method in methods]


def _installed() -> dict[str, EntryPoint]:
    """Policies that installed packages offer; a built-in name cannot be taken over."""
    ours = {*_BUILT_IN, *_members()}
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name not in ours}


def _load(name: str, point: EntryPoint) -> Policy:
    source = f"policy {name} from entry point {point.value!r} ({point.dist.name if point.dist else 'unknown package'})"
    try:
        policy = point.load()
    except Exception as error:
        raise StowageInputError(f"{source} did not load: {error}") from error
    if not isinstance(policy, Policy):
        raise StowageInputError(f"{source} is a {type(policy).__name__}, not a scheduler.core.policies.Policy")
    if policy.name != name:
        raise StowageInputError(f"{source} calls itself {policy.name!r}; the two names must agree")
    return policy


def _has_score_signature(score: Any) -> bool:
    compiled = getattr(score, "nopython_signatures", None)
    if not compiled:
        return False
    from numba.core.sigutils import normalize_signature

    arguments, returned = normalize_signature(SCORE_SIGNATURE)
    return any(one.args == arguments and one.return_type == returned for one in compiled)
