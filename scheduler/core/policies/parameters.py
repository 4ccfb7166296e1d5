"""What of a policy's planner can be set: `stowage replay --set name=value`, listed by `stowage policies --json`.

Each planner declares its parameters in one table, its policy's `parameters`; the driver hands the planner their values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from scheduler.core.errors import StowageInputError

Settings: TypeAlias = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of them. A number from `low` to `high` in `unit`, whole where `is_whole`; or one of `choices`.

    Raises StowageInputError where the default is none that may be set.
    """

    name: str
    default: float | str
    summary: str
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    is_whole: bool = False
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.parse(str(self.default))

    @property
    def range(self) -> str:
        """What may be set, in words."""
        if self.choices:
            return ", ".join(self.choices)
        return f"{'whole ' if self.is_whole else ''}{self.low:g} to {self.high:g}{' ' if self.unit else ''}{self.unit}"

    def parse(self, text: str) -> float | str:
        """The value written like this; raises StowageInputError for what may not be set."""
        wrong = StowageInputError(f"{self.name} is {text!r}; it is {'one of ' if self.choices else ''}{self.range}")
        if self.choices:
            if text not in self.choices:
                raise wrong
            return text
        try:
            value = float(text)
        except ValueError:
            raise wrong from None
        if not self.low <= value <= self.high or (self.is_whole and value != int(value)):  # False for nan
            raise wrong
        return value


# How work moves, for every planner that moves it (`scheduler.core.balance.migration`). The values are ours: a tenth of
# a 10 Gbit/s link, a machine that writes a tenth of its memory over and over.
MIGRATION: Final = (
    Parameter("migration", "pre-copy", "Live, by pre-copy; or restarted from a checkpoint.",
              choices=("pre-copy", "restart")),
    Parameter("bandwidth_mbit_s", 1000, "Of a node's link, for one transfer at a time.", "Mbit/s", 0.001, 1e6),
    Parameter("dirty_mib_s", 10, "Memory written while it is copied.", "MiB/s", 0, 1e6),
    Parameter("hot_share", 0.1, "Share of a task's memory that is written to.", "", 0.001, 1),
    Parameter("stop_mib", 64, "Stop the task when so little is left to copy.", "MiB", 0, 1e6),
    Parameter("resume_s", 0.1, "From the last byte until the task runs, or its new process computes.", "s", 0, 1e5),
    Parameter("checkpoint_age_s", 300, "Restart: work since the last checkpoint, done again.", "s", 0, 1e7),
)  # fmt: skip


def read_settings(policy: str, parameters: Iterable[Parameter], given: Iterable[tuple[str, str]]) -> Settings:
    """The value of every parameter: as given, else its default.

    Raises StowageInputError for one that the policy does not have, listing those it has, and for a value out of range.
    """
    known = {one.name: one for one in parameters}
    settings: dict[str, float | str] = {name: one.parse(str(one.default)) for name, one in known.items()}
    for name, text in given:
        if name not in known:
            listed = "; ".join(f"{one.name} ({one.range}) [{one.default}]" for one in known.values())
            has = f"it has {listed}" if listed else "it has none"
            raise StowageInputError(f"policy {policy} has no parameter {name!r}: {has}")
        settings[name] = known[name].parse(text)
    return settings
