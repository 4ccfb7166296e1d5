"""The API server's clock is read off its answers, whatever this machine's says."""

from __future__ import annotations

import random
from email.utils import formatdate

from scheduler.live.server_time import ServerTime


class Bench:
    """A server and a client with clocks of their own; `monotonic` is seconds of either."""

    def __init__(self, ahead: float) -> None:
        self.monotonic, self.ahead, self.own = 1000.0, ahead, 5.0
        self.time = ServerTime(lambda: self.monotonic, lambda: self.own)

    @property
    def right(self) -> float:
        return self.monotonic + self.ahead

    def ask(self, there_s: float = 0.0, back_s: float = 0.0) -> None:
        asked = self.monotonic
        self.monotonic += there_s
        date = formatdate(self.right, usegmt=True)
        self.monotonic += back_s
        self.time.see(date, asked)


def test_it_is_this_machines_clock_until_there_is_an_answer_with_a_date() -> None:
    bench = Bench(1e9)
    assert bench.time() == 5.0
    for nothing in (None, "", "yesterday"):
        bench.time.see(nothing, 0.0)
    assert bench.time() == 5.0


def test_it_comes_close_with_every_answer_and_is_never_a_second_off() -> None:
    rng = random.Random(7)
    for _ in range(50):
        bench = Bench(1e9 + rng.random())
        for _ in range(100):
            bench.monotonic += rng.random() * 5
            delays = rng.random() * 0.02, rng.random() * 0.02
            bench.ask(*delays)
            assert abs(bench.time() - bench.right) <= 1.0 + sum(delays)
        assert abs(bench.time() - bench.right) < 0.1


def test_setting_this_machines_clock_changes_nothing_and_setting_the_servers_is_followed() -> None:
    bench = Bench(1e9)
    bench.ask()
    bench.own += 3600
    assert abs(bench.time() - bench.right) <= 1.0
    for jump in (3600, -7200):
        bench.ahead += jump
        bench.ask()
        assert abs(bench.time() - bench.right) <= 1.0


def test_an_answer_that_took_long_teaches_little() -> None:
    bench = Bench(1e9 + 0.5)
    for _ in range(40):
        bench.monotonic += 0.3
        bench.ask()
    before = bench.time() - bench.right
    bench.ask(there_s=20, back_s=20)
    assert abs(bench.time() - bench.right - before) < 1e-6
