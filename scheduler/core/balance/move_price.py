"""What moving a task costs of which only the memory is known: the figures stated once, for traces and clusters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from scheduler.core.balance.migration import MIB, Channel, Migration, WriteSet, migrate_live, migration_cost

LINK = Channel(bandwidth_bytes_per_s=10e9 / 8, stop_bytes=64 * MIB, resume_s=0.1)
WRITTEN = (WriteSet(bytes_per_s=1e9 / 8),)


@dataclass(frozen=True, slots=True)
class UsualMove:
    """A live migration over a link of its own.

    By default (ours: choose your own) the link has 10 Gbit/s, memory is written at a tenth of that and no page twice,
    and the task stops for the last 64 MiB and 0.1 s.
    """

    channel: Channel = LINK
    writes: tuple[WriteSet, ...] = WRITTEN

    @classmethod
    def over(cls, bandwidth_mbit_s: float | None, dirty_mib_s: float | None) -> UsualMove:
        """With another link, or memory that is written at another rate; None: as usual.

        Raises StowageInputError for negative or infinite figures.
        """
        link = LINK if bandwidth_mbit_s is None else replace(LINK, bandwidth_bytes_per_s=bandwidth_mbit_s * 1e6 / 8)
        return cls(link, WRITTEN if dirty_mib_s is None else (WriteSet(dirty_mib_s * MIB),))

    def of(self, memory_mib: int) -> Migration:
        """The move of a task with so much memory; `refused` with a reason where it would never end."""
        return migrate_live(float(memory_mib * MIB), self.writes, self.channel)


def price_moves(memory_mib: Iterable[int], usual: UsualMove | None = None) -> tuple[list[int], list[str]]:
    """What moving each of these tasks costs, and why it cannot be moved: empty where it can, else its cost is 1."""
    usual = usual or UsualMove()
    moves = [usual.of(memory) for memory in memory_mib]
    return [migration_cost(move) or 1 for move in moves], [move.reason for move in moves]
