"""Links between functions that follow each other."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler.core.errors import StowageInputError
from scheduler.core.serverless.chains import holds, new_links, see_call

SECOND_US = 1_000_000


def see(calls: list[tuple[float, int]], subjects: int = 4, lag_s: float = 5, share: float = 0.5) -> np.ndarray:
    """(S, S) whether a call of the row leads to one of the column, after these (seconds, subject)."""
    links = new_links(subjects, round(lag_s * SECOND_US), share)
    for at, s in sorted(calls):
        see_call(links, s, round(at * SECOND_US))
    return np.array([[bool(holds(links, a, b)) for b in range(subjects)] for a in range(subjects)])


def a_chain(rounds: int, lag_s: float = 1) -> list[tuple[float, int]]:
    return [(100 * n + k * lag_s, k) for n in range(rounds) for k in range(3)]


def test_links_go_down_the_chain_and_not_up() -> None:
    found = see(a_chain(4))
    assert found[0, 1]
    assert found[0, 2]
    assert found[1, 2]
    assert found.sum() == 3


def test_a_link_needs_three_calls() -> None:
    assert not see(a_chain(2)).any()
    assert see(a_chain(3)).any()


def test_what_comes_later_than_the_lag_does_not_follow() -> None:
    assert see(a_chain(5, lag_s=5))[0].tolist() == [False, True, False, False]
    assert not see(a_chain(5, lag_s=5.1)).any()


def test_a_link_needs_its_share_of_the_calls() -> None:
    often = [(100 * n, 0) for n in range(12)] + [(100 * n + 1, 1) for n in range(0, 12, 2)]
    assert see(often, share=0.5)[0, 1]
    assert not see(often, share=0.6)[0, 1]


def test_many_calls_of_a_follower_count_once_for_a_call_before_them() -> None:
    calls = [(100 * n, 0) for n in range(9)] + [(0.1 * n + 1, 1) for n in range(9)]
    assert not see(calls)[0, 1]


def test_one_call_of_a_follower_follows_one_call() -> None:
    calls = [(100 * n + 0.1 * k, 0) for n in range(5) for k in range(4)] + [(100 * n + 1, 1) for n in range(5)]
    assert not see(calls)[0, 1]


def test_the_leader_stays_known_among_many_others() -> None:
    rng = np.random.default_rng(3)
    noise = [(100 * n + float(rng.random()) * 5, int(rng.integers(3, 40))) for n in range(200) for _ in range(6)]
    assert see(a_chain(200) + noise, subjects=40)[0, 1]


@pytest.mark.parametrize(("lag_us", "share"), [(-1, 0.5), (1, 0.0), (1, 1.5)])
def test_what_is_no_chain_is_refused(lag_us: int, share: float) -> None:
    with pytest.raises(StowageInputError):
        new_links(1, lag_us, share)
