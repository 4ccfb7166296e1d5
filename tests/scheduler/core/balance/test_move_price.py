from __future__ import annotations

import pytest

from scheduler.core.balance.migration import MIB, Channel, WriteSet
from scheduler.core.balance.move_price import UsualMove, price_moves

GIB = 1024


def test_a_move_costs_a_ninth_more_than_its_memory_and_a_share_that_all_moves_have():
    costs, reasons = price_moves([0, 1, 16 * GIB, 200 * GIB])
    assert reasons == [""] * 4
    assert costs == sorted(costs)
    fixed = 0.1 * 10e9 / 8 / MIB  # the time in which it stands still, as bytes of the link
    assert costs[0] == pytest.approx(fixed, abs=1)
    for memory, cost in zip((16 * GIB, 200 * GIB), costs[2:], strict=True):
        # all rounds together send memory / (1 - 1/10); at most 64 MiB are sent while it stands still
        assert memory / 0.9 + fixed - 64 <= cost <= memory / 0.9 + fixed + 64


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        (UsualMove(channel=Channel(0, 64 * MIB)), "the link has no bandwidth"),
        (UsualMove(Channel(1000, 64 * MIB), (WriteSet(2000),)), "memory is written at 2000 bytes/s and sent at 1000"),
    ],
)
def test_a_refused_move_has_a_reason_and_the_least_cost(move, reason):
    costs, reasons = price_moves([GIB], move)
    assert costs == [1]
    assert reason in reasons[0]
