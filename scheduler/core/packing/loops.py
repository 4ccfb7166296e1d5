"""Compiled loops of the search: best fit, and annealing by swaps.

Everything here sees pods one by one, with residual room per node; rules between pods stay outside (pods under such
rules are not handed in as free to move). All loops repeat themselves exactly for one seed.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.compiled import compiled
from scheduler.core.packing.problem import Bools, Ints, Small

OUT = -1


@compiled
def _next(state: np.uint64) -> np.uint64:
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@compiled
def best_fit(
    demand: Ints, home: Small, mask: Small, allowed: Bools, free: Ints, shown: Ints, scale: np.ndarray, node: Small
) -> int:
    """Place every pod i with node[i] < 0 in the given order; returns how many stay out. Changes node, free and shown.

    free: (N, R) room that counts. shown: (N, R) room left if less important pods stay too; a node where the pod fits
    in `shown` is preferred, so that they are not displaced without need. scale: (N, R) one over the size of a node.
    """
    nodes, resources = free.shape
    out = 0
    for i in range(len(node)):
        if node[i] >= 0:
            continue
        best, best_score = -1, np.inf
        for n in range(nodes):
            if not (allowed[mask[i], n] or n == home[i]):
                continue
            fits, displaces, score = True, 0.0, 0.0
            for r in range(resources):
                left = free[n, r] - demand[i, r]
                if left < 0 and demand[i, r] > 0:
                    fits = False
                    break
                score += left * scale[n, r]
                over = demand[i, r] - shown[n, r]
                if over > 0 and demand[i, r] > 0:
                    displaces += over * scale[n, r]
            if not fits:
                continue
            if displaces > 0:
                score += 1e3 + 1e3 * displaces
            if n == home[i]:
                score -= 1e6
            if score < best_score:
                best, best_score = n, score
        if best < 0:
            out += 1
            continue
        node[i] = best
        for r in range(resources):
            free[best, r] -= demand[i, r]
            shown[best, r] -= demand[i, r]
    return out


@compiled
def _overflow(free: Ints, scale: np.ndarray, n: int) -> float:
    total = 0.0
    for r in range(free.shape[1]):
        if free[n, r] < 0:
            total -= free[n, r] * scale[n, r]
    return total


@compiled
def anneal(
    demand: Ints,
    home: Small,
    cost: np.ndarray,
    group: Small,
    mask: Small,
    allowed: Bools,
    free: Ints,
    scale: np.ndarray,
    node: Small,
    best_node: Small,
    hot: float,
    cold: float,
    steps: int,
    seed: int,
    stop_when_fits: bool,
) -> tuple[bool, float, int]:
    """Swap pods between nodes until no node is overfull; then, unless told to stop, make moves fewer.

    Energy = overfull share of every node and resource + `cost` of every pod away from home. Pods keep the number of
    placed ones per `group`: one that is out comes in only for another of its group. Changes node and free; best_node
    gets the cheapest placement without overfull node. Returns (found one, its cost, steps done).
    """
    pods, (nodes, resources) = len(node), free.shape
    state = np.uint64(seed * 2654435761 + 88172645463325252)
    head = np.full(nodes, -1, np.int32)
    after = np.full(pods, -1, np.int32)
    before = np.full(pods, -1, np.int32)
    count = np.zeros(nodes, np.int32)
    away = 0.0
    outs = np.zeros(pods, np.int32)
    out_count = 0
    for i in range(pods):
        n = node[i]
        if n >= 0:
            after[i] = head[n]
            if head[n] >= 0:
                before[head[n]] = i
            head[n] = i
            count[n] += 1
        else:
            outs[out_count] = i
            out_count += 1
        if home[i] >= 0 and n != home[i]:
            away += cost[i]
    full = np.zeros(nodes, np.int32)
    full_at = np.full(nodes, -1, np.int32)
    fulls = 0
    for n in range(nodes):
        if _overflow(free, scale, n) > 0:
            full[fulls] = n
            full_at[n] = fulls
            fulls += 1
    found, found_cost = False, np.inf
    if fulls == 0:
        found, found_cost = True, away
        best_node[:] = node
        if stop_when_fits:
            return found, found_cost, 0
    temperature = hot
    cooling = (cold / hot) ** (1.0 / max(1.0, steps / 256.0))
    for step in range(steps):
        if step & 255 == 255:
            temperature *= cooling
        state = _next(state)
        draw = int(state >> np.uint64(33))
        if fulls > 0 and draw & 7 < 5:
            a = full[(draw >> 3) % fulls]
            if count[a] == 0:
                continue
            state = _next(state)
            hop = int(state >> np.uint64(33)) % count[a]
            i = head[a]
            for _ in range(hop):
                i = after[i]
        else:
            i = (draw >> 3) % pods
            a = node[i]
        state = _next(state)
        draw = int(state >> np.uint64(33))
        j = -1
        if a < 0 or (out_count > 0 and draw & 15 < 3):
            # exchange a placed pod with one that is out
            if a < 0:
                j = i
                i = (draw >> 4) % pods
                a = node[i]
                if a < 0:
                    continue
            else:
                j = outs[(draw >> 4) % out_count]
            if group[i] != group[j] or not (allowed[mask[j], a] or home[j] == a):
                continue
            b = -1
        else:
            b = home[i] if home[i] >= 0 and home[i] != a and draw & 16 else (draw >> 5) % nodes
            if b == a or not (allowed[mask[i], b] or home[i] == b):
                continue
            state = _next(state)
            hop = int(state >> np.uint64(33)) % (count[b] + 1)
            if hop < count[b]:
                j = head[b]
                for _ in range(hop):
                    j = after[j]
                if not (allowed[mask[j], a] or home[j] == a):
                    continue
        delta = 0.0
        if home[i] >= 0:
            delta += cost[i] * ((1.0 if b != home[i] else 0.0) - (1.0 if a != home[i] else 0.0))
        if j >= 0 and home[j] >= 0:
            delta += cost[j] * ((1.0 if a != home[j] else 0.0) - (1.0 if b != home[j] else 0.0))
        for r in range(resources):
            change = demand[i, r]
            if j >= 0:
                change -= demand[j, r]
            if change == 0:
                continue
            was = free[a, r]
            now = was + change
            if was < 0:
                delta += was * scale[a, r]
            if now < 0:
                delta -= now * scale[a, r]
            if b >= 0:
                was = free[b, r]
                now = was - change
                if was < 0:
                    delta += was * scale[b, r]
                if now < 0:
                    delta -= now * scale[b, r]
        if delta > 0:
            if delta > 20.0 * temperature:
                continue
            state = _next(state)
            if float(state >> np.uint64(11)) * 1.1102230246251565e-16 >= np.exp(-delta / temperature):
                continue
        # accepted: i goes from a to b, j (if any) from b to a
        for r in range(resources):
            change = demand[i, r]
            if j >= 0:
                change -= demand[j, r]
            free[a, r] += change
            if b >= 0:
                free[b, r] -= change
        if home[i] >= 0:
            away += cost[i] * ((1.0 if b != home[i] else 0.0) - (1.0 if a != home[i] else 0.0))
        if j >= 0 and home[j] >= 0:
            away += cost[j] * ((1.0 if a != home[j] else 0.0) - (1.0 if b != home[j] else 0.0))
        for turn in range(2):
            pod, source, target = (i, a, b) if turn == 0 else (j, b, a)
            if pod < 0:
                continue
            if source >= 0:
                if before[pod] >= 0:
                    after[before[pod]] = after[pod]
                else:
                    head[source] = after[pod]
                if after[pod] >= 0:
                    before[after[pod]] = before[pod]
                count[source] -= 1
            node[pod] = target
            if target >= 0:
                before[pod] = -1
                after[pod] = head[target]
                if head[target] >= 0:
                    before[head[target]] = pod
                head[target] = pod
                count[target] += 1
        if b < 0:
            for q in range(out_count):
                if outs[q] == j:
                    outs[q] = i
                    break
        for turn in range(2):
            n = a if turn == 0 else b
            if n < 0:
                continue
            is_full = _overflow(free, scale, n) > 0
            if is_full and full_at[n] < 0:
                full[fulls] = n
                full_at[n] = fulls
                fulls += 1
            elif not is_full and full_at[n] >= 0:
                fulls -= 1
                last = full[fulls]
                full[full_at[n]] = last
                full_at[last] = full_at[n]
                full_at[n] = -1
        if fulls == 0 and away < found_cost - 1e-9:
            found, found_cost = True, away
            best_node[:] = node
            if stop_when_fits:
                return found, found_cost, step + 1
    return found, found_cost, steps


@compiled
def keep_what_fits(demand: Ints, node: Small, free: Ints) -> int:
    """Leave every pod (in the given order) where it is if the room allows, else take it out; returns how many leave."""
    out = 0
    for i in range(len(node)):
        n = node[i]
        if n < 0:
            continue
        fits = True
        for r in range(free.shape[1]):
            if demand[i, r] > 0 and free[n, r] < demand[i, r]:
                fits = False
        if not fits:
            node[i] = OUT
            out += 1
            continue
        for r in range(free.shape[1]):
            free[n, r] -= demand[i, r]
    return out


@compiled
def squeeze_in(
    demand: Ints, mask: Small, allowed: Bools, free: Ints, scale: np.ndarray, node: Small, pods: Ints, seed: int
) -> int:
    """Put these pods where they overfill least, ties by a rotating start; returns how many have no allowed node."""
    nodes, resources = free.shape
    state = np.uint64(seed * 2654435761 + 1442695040888963407)
    lost = 0
    for i in pods:
        state = _next(state)
        start = int(state >> np.uint64(33)) % nodes
        best, best_score = -1, np.inf
        for step in range(nodes):
            n = (start + step) % nodes
            if not allowed[mask[i], n]:
                continue
            score = 0.0
            for r in range(resources):
                left = free[n, r] - demand[i, r]
                if left < 0 and demand[i, r] > 0:
                    score -= left * scale[n, r]
            if score < best_score:
                best, best_score = n, score
                if score == 0.0:
                    break
        if best < 0:
            lost += 1
            continue
        node[i] = best
        for r in range(resources):
            free[best, r] -= demand[i, r]
    return lost


@compiled
def shed(demand: Ints, home: Small, group: Small, target: int, free: Ints, scale: np.ndarray, node: Small) -> bool:
    """Take pods of group `target` out of overfull nodes until none is; False if others alone overfill one."""
    nodes, resources = free.shape
    is_full = np.zeros(nodes, np.bool_)
    fulls = 0
    for n in range(nodes):
        if _overflow(free, scale, n) > 0:
            is_full[n] = True
            fulls += 1
    if fulls == 0:
        return True
    for turn in range(2):  # waiting pods first, then running ones
        for i in range(len(node)):
            n = node[i]
            if n < 0 or not is_full[n] or group[i] != target or (turn == 0 and home[i] >= 0):
                continue
            helps = False
            for r in range(resources):
                if free[n, r] < 0 and demand[i, r] > 0:
                    helps = True
            if not helps:
                continue
            node[i] = OUT
            for r in range(resources):
                free[n, r] += demand[i, r]
            if _overflow(free, scale, n) == 0.0:
                is_full[n] = False
                fulls -= 1
    return fulls == 0
