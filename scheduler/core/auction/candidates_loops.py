"""The loops of the candidate search: a tree over nodes in the plane, and the best nodes of a request by its cells.

A tree of `depth` halvings has cells 0 to 2**(depth + 1) - 2; the halves of cell c are 2 c + 1 and 2 c + 2, and the last
2**depth cells are leaves. Cell c holds the nodes order[begin[c]:end[c]].
"""

from __future__ import annotations

import numpy as np

from scheduler.core.auction.market import Floats
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled


@compiled
def grow(xy: Floats, depth: int) -> tuple[Codes, Ints, Ints, Floats]:
    """Halve the nodes along the longer side of their box, `depth` times.

    xy: (N, 2), N at least 2**depth. Gives the nodes by cell, the first and the end of every cell among them, and boxes
    (cells, 4): least and greatest x, least and greatest y.
    """
    cells = 2 ** (depth + 1) - 1
    order = np.arange(len(xy)).astype(np.int32)
    begin = np.zeros(cells, np.int64)
    end = np.zeros(cells, np.int64)
    box = np.empty((cells, 4))
    end[0] = len(xy)
    for c in range(cells):
        inside = order[begin[c] : end[c]]
        x = xy[inside, 0]
        y = xy[inside, 1]
        box[c] = np.array([x.min(), x.max(), y.min(), y.max()])
        if 2 * c + 2 >= cells:
            continue
        wide = box[c, 1] - box[c, 0] >= box[c, 3] - box[c, 2]
        by = np.argsort(x if wide else y, kind="mergesort")
        order[begin[c] : end[c]] = inside[by]
        half = (begin[c] + end[c] + 1) // 2
        begin[2 * c + 1] = begin[c]
        end[2 * c + 1] = half
        begin[2 * c + 2] = half
        end[2 * c + 2] = end[c]
    return order, begin, end, box


@compiled
def best_of_cells(score: Floats, order: Codes, begin: Ints, end: Ints) -> Floats:
    """(shapes, cells) the highest score of each shape in each cell. score: (shapes, N)."""
    shapes = len(score)
    cells = len(begin)
    top = np.full((shapes, cells), -np.inf)
    for s in range(shapes):
        for c in range(cells - 1, -1, -1):
            if 2 * c + 2 < cells:
                top[s, c] = max(top[s, 2 * c + 1], top[s, 2 * c + 2])
            else:
                for row in range(begin[c], end[c]):
                    top[s, c] = max(top[s, c], score[s, order[row]])
    return top


@compiled
def nearness(x: float, y: float, low_x: float, high_x: float, low_y: float, high_y: float, reach: float) -> float:
    """1 inside the box, falling to 0 at `reach` from it."""
    dx = max(low_x - x, 0.0, x - high_x)
    dy = max(low_y - y, 0.0, y - high_y)
    return max(1.0 - np.sqrt(dx * dx + dy * dy) / reach, 0.0)


@compiled
def best_nodes(
    xy: Floats, score: Floats, near: float, reach: float, order: Codes, begin: Ints, end: Ints, box: Floats,
    top: Floats, request_xy: Floats, shape: Codes, turn: Ints, above: Floats, best: Codes, gain: Floats,
) -> int:  # fmt: skip
    """The nodes of most score plus nearness for every request, highest first; the nodes and cells looked at.

    turn: (J,) the order in which requests are looked up. above: (J,) only more than this counts. best, gain: (J, k),
    filled here; -1 and `above` where there are fewer.
    """
    wanted = best.shape[1]
    leaves = len(begin) // 2
    # One cell of each level waits, and its sibling at the last.
    stack = np.empty(64, np.int64)
    hope = np.empty(64)
    steps = 0
    for j in turn:
        x = request_xy[j, 0]
        y = request_xy[j, 1]
        s = shape[j]
        count = 0
        least = above[j]
        for i in range(wanted):
            best[j, i] = -1
            gain[j, i] = least
        stack[0] = 0
        hope[0] = np.inf
        depth = 1
        while depth > 0:
            depth -= 1
            if hope[depth] <= least:
                continue
            c = stack[depth]
            steps += 1
            if c >= leaves:
                for row in range(begin[c], end[c]):
                    n = order[row]
                    dx = x - xy[n, 0]
                    dy = y - xy[n, 1]
                    found = score[s, n] + near * max(1.0 - np.sqrt(dx * dx + dy * dy) / reach, 0.0)
                    if found <= least:
                        continue
                    i = min(count, wanted - 1)
                    while i > 0 and gain[j, i - 1] < found:
                        gain[j, i] = gain[j, i - 1]
                        best[j, i] = best[j, i - 1]
                        i -= 1
                    gain[j, i] = found
                    best[j, i] = n
                    count = min(count + 1, wanted)
                    if count == wanted:
                        least = gain[j, wanted - 1]
                steps += end[c] - begin[c]
                continue
            one = 2 * c + 1
            two = one + 1
            hope_one = top[s, one] + near * nearness(x, y, box[one, 0], box[one, 1], box[one, 2], box[one, 3], reach)
            hope_two = top[s, two] + near * nearness(x, y, box[two, 0], box[two, 1], box[two, 2], box[two, 3], reach)
            if hope_one > hope_two:
                one, two = two, one
                hope_one, hope_two = hope_two, hope_one
            # The better half is looked at first: it is put on top.
            if hope_one > least:
                stack[depth] = one
                hope[depth] = hope_one
                depth += 1
            if hope_two > least:
                stack[depth] = two
                hope[depth] = hope_two
                depth += 1
    return steps


@compiled
def list_more(
    first: Ints, node: Codes, value: Floats, offer: Ints, more: Codes, xy: Floats, score: Floats, near: float,
    reach: float, request_xy: Floats, shape: Codes,
) -> tuple[Ints, Codes, Floats]:  # fmt: skip
    """Offers with these nodes added, each request's nodes ascending and once; `offer` is moved to the new rows.

    more: (J, k) nodes, -1 for none.
    """
    requests, wide = more.shape
    wider = np.zeros(requests + 1, np.int64)
    nodes = np.empty(len(node) + more.size, np.int32)
    values = np.empty(len(nodes))
    end = 0
    for j in range(requests):
        begin = end
        for e in range(first[j], first[j + 1]):
            nodes[end] = node[e]
            values[end] = value[e]
            end += 1
        held = node[offer[j]] if offer[j] >= 0 else -1
        for k in range(wide):
            n = more[j, k]
            if n < 0:
                continue
            at = end
            while at > begin and nodes[at - 1] > n:
                at -= 1
            if at > begin and nodes[at - 1] == n:
                continue
            for e in range(end, at, -1):
                nodes[e] = nodes[e - 1]
                values[e] = values[e - 1]
            dx = request_xy[j, 0] - xy[n, 0]
            dy = request_xy[j, 1] - xy[n, 1]
            nodes[at] = n
            values[at] = score[shape[j], n] + near * max(1.0 - np.sqrt(dx * dx + dy * dy) / reach, 0.0)
            end += 1
        wider[j + 1] = end
        if held >= 0:
            offer[j] = begin
            while nodes[offer[j]] != held:
                offer[j] += 1
    return wider, nodes[:end].copy(), values[:end].copy()


@compiled
def profits(first: Ints, node: Codes, value: Floats, price: Floats) -> Floats:
    """(J,) the most each request could have among its offers at these prices, at least 0."""
    most = np.zeros(len(first) - 1)
    for j in range(len(most)):
        for e in range(first[j], first[j + 1]):
            most[j] = max(most[j], value[e] - price[node[e]])
    return most
