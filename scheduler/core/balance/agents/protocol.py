"""The loop over simulated time: timers of the world, tasks that come, and messages, each to whom it concerns."""

from __future__ import annotations

from typing import Any

import numpy as np

from scheduler.core.balance.agents import desk as d
from scheduler.core.balance.agents.broker import Views, gossip, name_candidates
from scheduler.core.balance.agents.candidate import answer_query, hold, land
from scheduler.core.balance.agents.desk import Desk, arm, is_tight, take_mail, take_timer
from scheduler.core.balance.agents.leases import end_lease
from scheduler.core.balance.agents.node import check, end_task, fail
from scheduler.core.balance.agents.owner import commit, end_well, hear_candidates, hear_score, refused, submit, time_out
from scheduler.core.balance.agents.settings import Rules
from scheduler.core.balance.agents.world import FOREVER, NOBODY, Books
from scheduler.core.balance.problem import WAITING
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled


@compiled
def advance(
    books: Books,
    views: Views,
    desk: Desk,
    rules: Rules,
    initial: Any,
    reallocation: Any,
    arrivals_us: Ints,
    arrivals: Codes,
) -> bool:
    """Everything up to `Desk.at[d.UNTIL_US]`, and then until nothing is under way; False where a table is too small.

    arrivals_us, arrivals: (A,) when which tasks are submitted, sorted. After the window nothing new is begun: whoever
    has not got as far as a commit gives up, and leases end.
    """
    at = desk.at
    while True:
        if is_tight(desk):
            return False
        now = FOREVER
        comes = 0
        if at[d.TIMERS] > 0 and desk.timer_keys[0] <= at[d.UNTIL_US]:
            now, comes = desk.timer_keys[0], 1
        if at[d.ARRIVAL] < arrivals.shape[0] and arrivals_us[at[d.ARRIVAL]] < min(now, at[d.UNTIL_US] + 1):
            now, comes = arrivals_us[at[d.ARRIVAL]], 2
        if at[d.MAIL] > 0 and desk.mail_keys[0] < now:
            now, comes = desk.mail_keys[0], 3
        if comes == 0 or (now > at[d.UNTIL_US] and at[d.LIVE] == 0 and at[d.LEASES] == 0):
            if comes == 3:  # ends of leases that were used, and waits that are over
                at[d.MAIL] = 0
            gossip(books, views, desk, rules, at[d.UNTIL_US])
            return True
        gossip(books, views, desk, rules, now)
        at[d.NOW] = now
        if comes == 1:
            value = take_timer(desk)
            kind, number, row = value >> d.KIND_SHIFT, (value >> d.NUMBER_SHIFT) & d.NUMBER_MASK, value & d.ROW_MASK
            if kind == d.CHECK:
                check(books, views, desk, rules, row)
            elif kind == d.FAILS:
                fail(books, views, desk, rules, row)
            else:
                end_task(books, views, desk, rules, row, number)
        elif comes == 2:
            t = arrivals[at[d.ARRIVAL]]
            at[d.ARRIVAL] += 1
            if books.home[t] == WAITING and books.request[t] == NOBODY:
                submit(books, views, desk, rules, t, NOBODY, 0)
        else:
            _deliver(books, views, desk, rules, take_mail(desk), initial, reallocation)


@compiled
def _deliver(books: Books, views: Views, desk: Desk, rules: Rules, value: int, initial: Any, reallocation: Any) -> None:
    """One message, wait or lease that ends. What belongs to an attempt that is over concerns nobody."""
    kind, choice = value >> d.KIND_SHIFT, (value >> d.CHOICE_SHIFT) & 63
    number, row = (value >> d.NUMBER_SHIFT) & d.NUMBER_MASK, value & d.ROW_MASK
    if kind == d.LEASE_END:
        if desk.leases[row].is_alive == 1 and desk.leases[row].use & d.NUMBER_MASK == number:
            end_lease(books, views, desk, rules, row)
        return
    if kind == d.TIMEOUT:
        if desk.requests[row].timer & d.NUMBER_MASK == number:
            time_out(books, views, desk, rules, row)
        return
    if desk.requests[row].number & d.NUMBER_MASK != number:
        return
    phase = desk.requests[row].phase
    if kind == d.ASK:
        name_candidates(books, views, desk, rules, row)
    elif kind == d.CANDIDATES:
        if phase == d.ASKING:
            hear_candidates(books, views, desk, rules, row)
    elif kind == d.SCORED:
        if phase == d.QUERYING:
            hear_score(books, views, desk, rules, row, choice)
    elif kind == d.HELD:
        if phase == d.HOLDING and desk.requests[row].chosen == choice:
            desk.requests[row].phase = d.COMMITTING
            desk.requests[row].tries = 0
            commit(desk, rules, row)
    elif kind in (d.REJECTED, d.EXPIRED):
        if phase == (d.HOLDING if kind == d.REJECTED else d.COMMITTING) and desk.requests[row].chosen == choice:
            desk.counts[d.COLLISIONS] += kind == d.REJECTED
            desk.score[row, choice] = -np.inf
            refused(books, views, desk, rules, row)
    elif kind == d.DONE:
        if phase == d.COMMITTING:
            end_well(books, views, desk, rules, row)
    elif not books.up[desk.candidate[row, choice]]:
        arm(desk, rules, row)  # a question to a node that is down
    elif kind == d.QUERY:
        answer_query(books, desk, rules, row, choice, initial, reallocation)
    elif kind == d.HOLD:
        hold(books, views, desk, rules, row, choice)
    else:
        land(books, views, desk, rules, row, choice)
