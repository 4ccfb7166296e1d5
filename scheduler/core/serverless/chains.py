"""Which function follows which: learnt from the calls, so that pods can be loaded down a workflow before it gets there.

A call of `b` after a call of `a`, by at most `lag_us`, is a sign that `a` leads to `b`. For each subject the few
subjects that came before it most often are kept (Misra and Gries: a count never overstates). A link holds while at
least a share of the calls of `a` since it was first seen were followed so; each call of `a` counts once, however often
`b` follows. "Serverless Cold Starts and Where to Find Them" (EuroSys 2025) proposes to allocate pods so for workflows,
a fifth of the cold starts of its region R2; how the links are known is left open there.

Compiled functions over one table, because every call passes here.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.core.compiled import compiled
from scheduler.core.errors import StowageInputError

Ints = NDArray[np.int64]
NONE: Final = -1
KEPT: Final = 8  # leaders kept per subject, and followers
RECENT: Final = 256  # calls looked back over at most
NEEDED: Final = 3  # calls of a leader before a link is believed
# Columns of Links.leader: who, calls of it that were followed, its calls before it was first seen, the last one counted
# and the follower's call that it was counted for
WHO, FOLLOWED, BEFORE, LAST, BY = range(5)


class Links(NamedTuple):
    """What was seen so far of S subjects. limits: lag in microseconds; the share that makes a link, in millionths."""

    limits: Any  # (2,)
    leader: Any  # (S, KEPT, 5)
    follower: Any  # (S, KEPT) subjects that a call of this one may lead to
    calls: Any  # (S,)
    recent: Any  # (RECENT, 3) ring of time, subject and the number of its call
    at: Any  # (1,) calls in all


def new_links(subjects: int, lag_us: int, share: float) -> Links:
    """Nothing seen. StowageInputError if the lag is negative or the share is not above 0 and at most 1."""
    if lag_us < 0 or not 0 < share <= 1:
        raise StowageInputError(f"a chain has a lag of at least 0 and a share in (0, 1], not {lag_us} us and {share:g}")
    leader = np.zeros((subjects, KEPT, 5), np.int64)
    leader[:, :, WHO] = NONE
    return Links(
        np.array([lag_us, round(share * 1e6)]), leader, np.full((subjects, KEPT), NONE, np.int64),
        np.zeros(subjects, np.int64), np.zeros((RECENT, 3), np.int64), np.zeros(1, np.int64),
    )  # fmt: skip


@compiled
def see_call(links: Links, s: int, now_us: int) -> None:
    """A call of subject `s`; calls come in order of time. It follows one call of each leader, the earliest that nothing
    followed yet."""
    recent, seen, back = links.recent, links.at[0], 0
    while back < min(seen, RECENT) and recent[(seen - back - 1) % RECENT, 0] >= now_us - links.limits[0]:
        back += 1
    for n in range(seen - back, seen):
        row = n % RECENT
        if recent[row, 1] != s:
            _count_link(links, recent[row, 1], recent[row, 2], s)
    row = seen % RECENT
    recent[row, 0], recent[row, 1], recent[row, 2] = now_us, s, links.calls[s]
    links.calls[s] += 1
    links.at[0] += 1


@compiled
def _count_link(links: Links, a: int, call: int, b: int) -> None:
    """Call number `call` of `a` was followed by one of `b`."""
    leader, free = links.leader, NONE
    for k in range(KEPT):
        if leader[b, k, WHO] == a:
            if call > leader[b, k, LAST] and leader[b, k, BY] != links.calls[b]:
                leader[b, k, FOLLOWED] += 1
                leader[b, k, LAST], leader[b, k, BY] = call, links.calls[b]
                _note_follower(links, a, b)
            return
        if leader[b, k, WHO] == NONE and free == NONE:
            free = k
    if free != NONE:
        leader[b, free, WHO], leader[b, free, FOLLOWED] = a, 1
        leader[b, free, BEFORE], leader[b, free, LAST], leader[b, free, BY] = call, call, links.calls[b]
        return
    for k in range(KEPT):
        leader[b, k, FOLLOWED] -= 1
        if leader[b, k, FOLLOWED] <= 0:
            leader[b, k, WHO] = NONE


@compiled
def _note_follower(links: Links, a: int, b: int) -> None:
    """Have `b` among those looked at when `a` is called; one whose link does not hold any more makes way."""
    free = NONE
    for k in range(KEPT):
        other = links.follower[a, k]
        if other == b:
            return
        if free == NONE and (other == NONE or not holds(links, a, other)):
            free = k
    if free != NONE and holds(links, a, b):
        links.follower[a, free] = b


@compiled
def holds(links: Links, a: int, b: int) -> bool:
    """Whether enough calls of `a` were followed by one of `b`."""
    leader = links.leader
    for k in range(KEPT):
        if leader[b, k, WHO] == a:
            since = links.calls[a] - leader[b, k, BEFORE]
            return since >= NEEDED and leader[b, k, FOLLOWED] * 1_000_000 >= since * links.limits[1]
    return False
