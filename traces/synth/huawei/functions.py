"""Who calls: a region's functions with user, pool, runtime and trigger, and which of them a cold start is of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traces.synth.huawei import calibration as cal
from traces.synth.huawei.components import LARGE, Codes, ColdStarts
from traces.synth.huawei.curves import Floats, value_at

_PROBE = 200_000


@dataclass(frozen=True, slots=True, eq=False)
class Functions:
    """One row per function. name, user: the release's numbers. pool, runtime, trigger: rows of the tuples of
    `calibration`. group_of: (runtimes, triggers, pools) the group whose functions such a cold start is of; groups are
    runs of functions from `first`, and `below` is the share of a group's cold starts up to each of its functions.
    """

    name: Codes
    user: Codes
    pool: Codes
    runtime: Codes
    trigger: Codes
    group_of: NDArray[np.int64]
    first: Codes
    below: Floats

    def choose(self, rng: np.random.Generator, starts: ColdStarts) -> Codes:
        """The function of every cold start."""
        pool = draw_pools(rng, starts.size)
        group = self.group_of[np.maximum(starts.runtime, 0), np.maximum(starts.trigger, 0), pool]
        # One search for all: group g's shares lie between g and g + 1.
        return np.searchsorted(self.below, group + rng.random(len(group)))

    def ids(self) -> list[str]:
        """`funcName---userID---poolName`, as the release calls them."""
        return [
            f"{name}---{user}---{cal.POOLS[pool]}"
            for name, user, pool in zip(self.name.tolist(), self.user.tolist(), self.pool.tolist(), strict=True)
        ]


def draw_pools(rng: np.random.Generator, size: Codes) -> Codes:
    """A pool for every cold start of a size."""
    share = np.array(cal.POOL_SHARE)
    small, large = share[: cal.SMALL_POOLS], share[cal.SMALL_POOLS :]
    return np.where(
        size == LARGE,
        cal.SMALL_POOLS + rng.choice(len(large), len(size), p=large / large.sum()),
        rng.choice(len(small), len(size), p=small / small.sum()),
    )


def draw_functions(region: str, scale: float, probe: ColdStarts, seed: int) -> Functions:
    """The region's functions: at least one of every kind that `probe`, a sample of its cold starts, has."""
    rng = np.random.default_rng([seed, 5, cal.REGIONS.index(region)])
    shape = (len(cal.RUNTIMES), len(cal.TRIGGERS), len(cal.POOLS))
    seen = np.zeros(shape)
    np.add.at(
        seen, (np.maximum(probe.runtime, 0), np.maximum(probe.trigger, 0), draw_pools(rng, probe.size)), 1.0
    )
    kinds = np.argwhere(seen > 0)
    usual = (
        np.array(cal.RUNTIME_FUNCTIONS)[kinds[:, 0]]
        * cal.TRIGGER_BY_RUNTIME[kinds[:, 0], kinds[:, 1]]
        * np.array(cal.POOL_FUNCTIONS)[kinds[:, 2]]
    )
    wanted = max(1, round(cal.FUNCTIONS[region] * scale))
    count = np.maximum(1, np.rint(wanted * usual / max(usual.sum(), 1e-12))).astype(np.int64)
    count[np.argmax(count)] += max(0, wanted - int(count.sum()))
    total = int(count.sum())
    rank = np.concatenate([np.arange(n) for n in count.tolist()])
    weight = 1 / (rank + 1.0)
    group = np.repeat(np.arange(len(kinds)), count)
    share = weight / np.bincount(group, weight)[group]
    first = np.concatenate([[0], np.cumsum(count)])
    below = np.cumsum(share)
    below[first[1:] - 1] = np.arange(1, len(kinds) + 1)  # a group's last function closes it, rounding or not
    return Functions(
        name=rng.permutation(total), user=_users(rng, region, total), pool=kinds[group, 2],
        runtime=kinds[group, 0], trigger=kinds[group, 1], group_of=_nearest(kinds, seen), first=first, below=below,
    )  # fmt: skip


def _nearest(kinds: NDArray[np.int64], seen: Floats) -> NDArray[np.int64]:
    """The group of every kind; one without functions goes to the commonest that shares most with it."""
    shape = seen.shape
    common = seen[tuple(kinds.T)]
    groups = np.empty(shape, np.int64)
    for kind in np.ndindex(shape):
        alike = (kinds == np.array(kind)) @ np.array([4, 2, 1])
        groups[kind] = np.lexsort((-common, -alike))[0]
    return groups


def _users(rng: np.random.Generator, region: str, functions: int) -> Codes:
    """The user of every function: most users have one, a few have many."""
    users = np.empty(functions, np.int64)
    at = user = 0
    order = rng.permutation(functions)
    while at < functions:
        many = max(1, int(value_at(cal.FUNCTIONS_PER_USER[region], rng.random(1))[0] + 0.5))
        users[order[at : at + many]] = user
        at, user = at + many, user + 1
    return users
