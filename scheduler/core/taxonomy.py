"""Where a policy stands among schedulers, as data: what it schedules for, who decides, how the search is done.

The classes are those of Sliwko's "A Taxonomy of Schedulers: Operating Systems, Clusters and Big Data Frameworks" (GJCST
2019); control and method are ours. Every policy of the project declares itself, beside its code; `stowage policies`
reads the declarations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from scheduler.core.errors import StowageInputError

Level = Literal["OS-level", "cluster", "big-data"]
Control = Literal["central", "decentralised"]
Method = Literal["exact", "metaheuristic", "greedy"]


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """level: what is scheduled. control: one place decides, or many. method: of the search.

    exact: its answer comes with a proof or a bound. metaheuristic: it goes on from answers to better ones without one.
    greedy: one decision after the other, none taken back. Raises StowageInputError for any other word.
    """

    level: Level = "cluster"
    control: Control = "central"
    method: Method = "greedy"

    def __post_init__(self) -> None:
        for value, allowed in ((self.level, Level), (self.control, Control), (self.method, Method)):
            if value not in get_args(allowed):
                raise StowageInputError(f"taxonomy {value!r} is none of {', '.join(get_args(allowed))}")


UNDECLARED: Final = Taxonomy()
"""What a policy counts as that says nothing of itself; ours all do, which a test holds by this object's identity."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a policy says of itself that is no object of its own: a line, and where it stands."""

    summary: str
    taxonomy: Taxonomy
