from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.balance.migration import (
    MIB,
    Channel,
    Checkpoint,
    CostWeights,
    Migration,
    WriteSet,
    migrate_live,
    migration_cost,
    missing_layer_bytes,
    restart_pod,
)
from scheduler.core.errors import StowageInputError


def a_channel(bandwidth: float = 1000.0, stop: float = 10.0, resume_s: float = 0.0, rounds: int = 30) -> Channel:
    return Channel(bandwidth, stop, resume_s, rounds)


def a_pod(gpus: int = 8, age_s: float = 600.0, restart_s: float = 60.0, size_bytes: float = 4000.0) -> Checkpoint:
    return Checkpoint(gpus, age_s, restart_s, size_bytes)


@given(
    memory=st.floats(1, 1e12), per_mille=st.integers(0, 999), bandwidth=st.floats(1e3, 1e10),
    stop=st.floats(1, 1e9), resume_s=st.floats(0, 10),
)  # fmt: skip
def test_a_constant_dirty_rate_gives_the_geometric_sum(
    memory: float, per_mille: int, bandwidth: float, stop: float, resume_s: float
) -> None:
    ratio, left, rounds = per_mille / 1000, memory, 0
    while left > stop and rounds < 30:
        left, rounds = left * ratio, rounds + 1
    move = migrate_live(
        memory, (WriteSet(ratio * bandwidth),), a_channel(bandwidth, stop, resume_s), may_stop_long=True
    )
    whole = memory * (1 - ratio ** (rounds + 1)) / (1 - ratio)
    assert move.rounds == pytest.approx(rounds, abs=1)  # by rounding, where a power meets the stop size
    if move.rounds == rounds:
        assert move.sent_bytes == pytest.approx(whole, rel=1e-6, abs=1)
        assert move.total_s == pytest.approx(whole / bandwidth + resume_s, rel=1e-6)
        assert move.downtime_s == pytest.approx(memory * ratio**rounds / bandwidth + resume_s, rel=1e-6)
    assert move.verdict == ("live" if left <= stop else "stop-and-copy")


def test_an_idle_machine_is_sent_once_and_stops_for_its_resume_only() -> None:
    assert migrate_live(5000, (), a_channel(resume_s=0.5)) == Migration("live", "", 5000, 5.5, 0.5, 1)


def test_a_machine_smaller_than_the_stop_size_is_sent_stopped() -> None:
    assert migrate_live(8, (WriteSet(1e9),), a_channel()) == Migration("live", "", 8, 0.008, 0.008, 0)
    assert migrate_live(0, (), a_channel()).sent_bytes == 0


def test_memory_written_as_fast_as_it_is_sent_is_refused_with_the_rates() -> None:
    move = migrate_live(5000, (WriteSet(1000),), a_channel())
    assert move.verdict == "refused"
    assert "written at 1000 bytes/s and sent at 1000" in move.reason
    assert (move.sent_bytes, move.total_s, move.downtime_s, move.rounds) == (0, 0, 0, 0)


@pytest.mark.parametrize("rate", [1000.0, 5000.0])
def test_or_it_is_stopped_at_once_and_copied(rate: float) -> None:
    move = migrate_live(5000, (WriteSet(rate),), a_channel(resume_s=1), may_stop_long=True)
    assert (move.verdict, move.sent_bytes, move.rounds, move.downtime_s) == ("stop-and-copy", 5000, 0, 6.0)
    assert move.reason


def test_a_slow_convergence_stops_at_the_round_limit() -> None:
    writes = (WriteSet(990),)
    assert migrate_live(5000, writes, a_channel()).verdict == "refused"
    move = migrate_live(5000, writes, a_channel(), may_stop_long=True)
    assert (move.verdict, move.rounds) == ("stop-and-copy", 30)
    assert move.downtime_s == pytest.approx(5 * 0.99**30)
    assert "after 30 rounds" in move.reason


@given(st.integers(0, 5000), st.floats(1, 5000))
def test_pages_written_twice_never_cost_more_than_pages_that_are_not(rate: int, size: float) -> None:
    never, often = WriteSet(rate), WriteSet(rate, size)
    assert often.dirtied_bytes(3.0) <= min(size, never.dirtied_bytes(3.0)) * (1 + 1e-12)
    dear, cheap = (migrate_live(5000, (one,), a_channel()) for one in (never, often))
    if dear.verdict == "live":
        assert (cheap.verdict, cheap.rounds <= dear.rounds) == ("live", True)
        assert cheap.sent_bytes <= dear.sent_bytes


def test_a_large_write_set_is_one_whose_pages_never_repeat() -> None:
    large = migrate_live(1e9, (WriteSet(500, 1e9),), a_channel(1e6, 10))
    never = migrate_live(1e9, (WriteSet(500),), a_channel(1e6, 10))
    assert large.sent_bytes == pytest.approx(never.sent_bytes, rel=1e-3)


def test_a_small_hot_set_moves_with_a_short_stop_however_fast_it_is_written() -> None:
    hot = (WriteSet(1e6, 100),)
    assert migrate_live(5000, hot, a_channel(stop=100)).verdict == "live"
    move = migrate_live(5000, hot, a_channel(stop=10), may_stop_long=True)
    assert (move.verdict, move.rounds, move.sent_bytes) == ("stop-and-copy", 1, 5100)
    assert move.downtime_s == pytest.approx(0.1)


def test_write_sets_add_up() -> None:
    two = migrate_live(5000, (WriteSet(300, 400), WriteSet(100, 4000)), a_channel(rounds=1), may_stop_long=True)
    expected = 400 * (1 - math.exp(-300 * 5 / 400)) + 4000 * (1 - math.exp(-100 * 5 / 4000))
    assert two.sent_bytes == round(5000 + expected)


def test_a_restarted_pod_loses_its_work_since_the_checkpoint_and_waits_on_all_gpus() -> None:
    move = restart_pod(a_pod(), 1000.0, missing_image_bytes=6000)
    assert move == Migration("restart", "", 10_000, 670.0, 70.0, 0, 8 * 670.0)


def test_image_layers_that_the_node_has_are_not_pulled() -> None:
    layers = {"sha256:a": 5, "sha256:b": 70, "sha256:c": 900}
    assert missing_layer_bytes(layers, {"sha256:b", "sha256:z"}) == 905
    assert missing_layer_bytes(layers, layers) == 0
    with pytest.raises(StowageInputError, match="sha256:a"):
        missing_layer_bytes({"sha256:a": -5}, ())


def test_without_bandwidth_nothing_moves_but_a_pod_that_needs_no_transfer() -> None:
    assert migrate_live(5000, (), a_channel(bandwidth=0)) == Migration("refused", "the link has no bandwidth")
    assert restart_pod(a_pod(), 0.0).verdict == "refused"
    assert restart_pod(a_pod(size_bytes=0), 0.0).downtime_s == 60.0


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_negative_or_infinite_figures_are_refused_by_name(bad: float) -> None:
    with pytest.raises(StowageInputError, match="bandwidth_bytes_per_s"):
        a_channel(bandwidth=bad)
    with pytest.raises(StowageInputError, match="bytes_per_s"):
        WriteSet(bad)
    with pytest.raises(StowageInputError, match="size_bytes"):
        WriteSet(1.0, bad)
    with pytest.raises(StowageInputError, match="memory_bytes"):
        migrate_live(bad, (), a_channel())
    with pytest.raises(StowageInputError, match="age_s"):
        a_pod(age_s=bad)
    with pytest.raises(StowageInputError, match="missing_image_bytes"):
        restart_pod(a_pod(), 1.0, bad)
    with pytest.raises(StowageInputError, match="per_mib"):
        CostWeights(per_mib=bad)


def test_write_sets_larger_than_memory_and_empty_ones_are_refused() -> None:
    with pytest.raises(StowageInputError, match="larger than the memory"):
        migrate_live(5000, (WriteSet(1, 3000), WriteSet(1, 3000)), a_channel())
    with pytest.raises(StowageInputError, match="above 0"):
        WriteSet(1.0, 0)


def test_the_cost_is_an_integer_that_grows_with_each_part_and_is_never_free() -> None:
    weights = CostWeights(per_mib=2, per_downtime_s=10, per_gpu_s=100)
    move = Migration("restart", "", 3 * MIB, 9.0, 1.5, 0, 0.25)
    assert migration_cost(move, weights) == 6 + 15 + 25
    assert migration_cost(Migration("live", "", 3 * MIB), weights) == 6
    assert migration_cost(Migration("live")) == 1
    assert migration_cost(Migration("refused", "why")) is None
