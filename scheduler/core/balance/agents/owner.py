"""What owners do: who submitted a task, or the overloaded node that it shall leave. They ask, choose and commit."""

from __future__ import annotations

import numpy as np

from scheduler.core.balance.agents import desk as d
from scheduler.core.balance.agents.broker import Views, mark
from scheduler.core.balance.agents.desk import Desk, begin_wait, close_request, new_request, note, send
from scheduler.core.balance.agents.settings import Rules
from scheduler.core.balance.agents.world import NOBODY, Books, give_back, overload_of, relieved_overload
from scheduler.core.compiled import compiled


@compiled
def submit(books: Books, views: Views, desk: Desk, rules: Rules, t: int, owner: int, depth: int) -> None:
    """A request for the task: of a new one (owner NOBODY), or of one that runs on the owner."""
    j = new_request(desk, t, owner, depth)
    books.request[t] = j
    desk.requests[j].broker = t % rules.brokers
    _begin_attempt(books, views, desk, rules, j)


@compiled
def _begin_attempt(books: Books, views: Views, desk: Desk, rules: Rules, j: int) -> None:
    """Ask a broker, each time another one."""
    if desk.at[d.NOW] > desk.at[d.UNTIL_US]:
        _give_up(books, desk, j)
        return
    desk.requests[j].number += 1
    desk.requests[j].phase = d.ASKING
    desk.requests[j].tries = 0
    _ask(desk, rules, j)


@compiled
def _ask(desk: Desk, rules: Rules, j: int) -> None:
    desk.requests[j].broker = (desk.requests[j].broker + 1) % rules.brokers
    begin_wait(desk, j)
    send(desk, rules, d.ASK, 0, j)


@compiled
def hear_candidates(books: Books, views: Views, desk: Desk, rules: Rules, j: int) -> None:
    """Ask all of them what they make of the task; a broker that knows nobody ends the search."""
    count = desk.requests[j].count
    if count == 0:
        desk.requests[j].refusals = max(desk.requests[j].refusals, rules.refusals - 1)
        refused(books, views, desk, rules, j)
        return
    desk.requests[j].phase = d.QUERYING
    desk.requests[j].waits = count
    begin_wait(desk, j)
    for i in range(count):
        desk.score[j, i] = -np.inf
        desk.has_answered[j, i] = False
        send(desk, rules, d.QUERY, i, j)


@compiled
def hear_score(books: Books, views: Views, desk: Desk, rules: Rules, j: int, i: int) -> None:
    if desk.has_answered[j, i]:
        return
    desk.has_answered[j, i] = True
    desk.requests[j].waits -= 1
    if desk.requests[j].waits == 0:
        _hold_or_refuse(books, views, desk, rules, j)


@compiled
def _hold_or_refuse(books: Books, views: Views, desk: Desk, rules: Rules, j: int) -> None:
    if not _hold_at_best(books, desk, rules, j):
        refused(books, views, desk, rules, j)


@compiled
def _hold_at_best(books: Books, desk: Desk, rules: Rules, j: int) -> bool:
    """Ask the best of those that answered, and did not refuse, to hold the room; False where there is none.

    A move is forced only where less overload is added than taken away.
    """
    best, owner, limit = -1, desk.requests[j].owner, np.inf
    if desk.requests[j].forces == 1 and owner != NOBODY:
        limit = relieved_overload(books, books.kind[desk.requests[j].task], owner)
    desk.requests[j].limit = limit
    for i in range(desk.requests[j].count):
        if not desk.has_answered[j, i] or -desk.score[j, i] >= limit:
            continue
        ahead = 1.0 if best < 0 else desk.score[j, i] - desk.score[j, best]
        if ahead > 0.0 or (ahead == 0.0 and desk.candidate[j, i] < desk.candidate[j, best]):
            best = i
    if best < 0:
        return False
    if desk.at[d.NOW] > desk.at[d.UNTIL_US]:
        _give_up(books, desk, j)
        return True
    desk.requests[j].phase = d.HOLDING
    desk.requests[j].chosen = best
    desk.requests[j].tries = 0
    begin_wait(desk, j)
    send(desk, rules, d.HOLD, best, j)
    return True


@compiled
def refused(books: Books, views: Views, desk: Desk, rules: Rules, j: int) -> None:
    """Try the next best, or ask again, or force it, or give up."""
    desk.requests[j].refusals += 1
    if desk.requests[j].refusals < rules.refusals:
        desk.counts[d.RETRIES] += 1
        if desk.requests[j].phase == d.ASKING or not _hold_at_best(books, desk, rules, j):
            _begin_attempt(books, views, desk, rules, j)
    elif desk.requests[j].forces == 0 and desk.requests[j].depth < rules.depth:
        desk.counts[d.RETRIES] += 1
        desk.requests[j].forces = 1
        desk.requests[j].refusals = 0
        _begin_attempt(books, views, desk, rules, j)
    else:
        _give_up(books, desk, j)


@compiled
def _give_up(books: Books, desk: Desk, j: int) -> None:
    """The task waits on, or stays where it is."""
    t, owner = desk.requests[j].task, desk.requests[j].owner
    books.request[t] = NOBODY
    if owner == NOBODY:
        desk.counts[d.UNPLACED] += 1
    else:
        desk.counts[d.STAYED] += 1
        desk.has_failed[owner] = True
    note(desk, d.F_DROPPED, t, owner, j, desk.requests[j].number, owner, 0, 0)
    close_request(desk, j)


@compiled
def commit(desk: Desk, rules: Rules, j: int) -> None:
    begin_wait(desk, j)
    send(desk, rules, d.COMMIT, desk.requests[j].chosen, j)


@compiled
def end_well(books: Books, views: Views, desk: Desk, rules: Rules, j: int) -> None:
    """The owner knows that the task runs elsewhere: it takes it off its books."""
    release_source(books, views, desk, rules, j)
    keep_move(desk, j)
    owner = desk.requests[j].owner
    if owner != NOBODY:
        desk.patience[owner] = 1
    books.request[desk.requests[j].task] = NOBODY
    close_request(desk, j)


@compiled
def release_source(books: Books, views: Views, desk: Desk, rules: Rules, j: int) -> None:
    """The node that the task left takes it off its books, if it has not yet."""
    n, k = desk.requests[j].owner, books.kind[desk.requests[j].task]
    if n == NOBODY or desk.requests[j].landed_us < 0:
        return
    give_back(books, k, n)
    for r in range(books.demand.shape[1]):
        books.leaving[n, r] -= books.demand[k, r]
    if overload_of(books, n) == 0.0:
        books.chain[n] = 0
    mark(books, views, desk, rules, n)
    note(desk, d.F_RELEASED, desk.requests[j].task, n, j, desk.requests[j].number, n, 0, 0)


@compiled
def keep_move(desk: Desk, j: int) -> None:
    request = desk.requests[j]
    row = desk.moves[desk.at[d.MOVES]]
    row[0], row[1], row[2], row[3] = request.task, request.owner, request.node, request.landed_us
    row[4], row[5], row[6], row[7] = request.began_us, request.messages, request.forces, request.depth
    desk.at[d.MOVES] += 1


@compiled
def time_out(books: Books, views: Views, desk: Desk, rules: Rules, j: int) -> None:
    """Some answer did not come in time."""
    phase = desk.requests[j].phase
    if phase == d.LOST:
        _begin_attempt(books, views, desk, rules, j)
        return
    if phase == d.QUERYING:
        _hold_or_refuse(books, views, desk, rules, j)
        return
    desk.requests[j].tries += 1
    has_patience = desk.requests[j].tries <= rules.resends
    if phase == d.ASKING:
        if has_patience:
            _ask(desk, rules, j)
        else:
            refused(books, views, desk, rules, j)
    elif phase == d.HOLDING:
        if has_patience:
            begin_wait(desk, j)
            send(desk, rules, d.HOLD, desk.requests[j].chosen, j)
        else:
            desk.score[j, desk.requests[j].chosen] = -np.inf
            refused(books, views, desk, rules, j)
    elif phase == d.COMMITTING:
        n = desk.candidate[j, desk.requests[j].chosen]
        # Somebody may run it there already: only a node that is known to be down is given up.
        if has_patience or views.is_up[desk.requests[j].broker, n]:
            commit(desk, rules, j)
        else:
            desk.score[j, desk.requests[j].chosen] = -np.inf
            refused(books, views, desk, rules, j)
