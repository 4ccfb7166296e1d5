"""What one replay is asked to do, and how people write it.

`ReplayOptions` checks itself when built, lists everything that is wrong at once, and is the same object for the
command line, a study file and the dashboard. The helpers turn the written forms ("x0.9", "12h", "64/256Gi",
"cpu=1.2") into it. `facts()` is the part that belongs in a run folder: no paths, so that the same replay gives the
same bytes wherever it ran.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from analytics.errors import InputError

Mode = Literal["recorded", "what-if"]
Initial = Literal["recorded", "empty"]
Preemption = Literal["policy", "on", "off"]
Load = Literal["requests", "use"]

MODES: tuple[Mode, ...] = ("recorded", "what-if")
INITIALS: tuple[Initial, ...] = ("recorded", "empty")
PREEMPTIONS: tuple[Preemption, ...] = ("policy", "on", "off")
LOADS: tuple[Load, ...] = ("requests", "use")

# Column names of the resource axis, by the name people write.
RESOURCES = {"cpu": "cpu_milli", "memory": "memory_mib", "disk": "disk_mib", "gpu": "gpu_milli"}

_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:us|ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")
_MIB = {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024, "Ti": 1024**2}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti)")
_CPU = re.compile(r"(\d+(?:\.\d+)?)(m?)")


@dataclass(frozen=True, slots=True)
class ClusterSize:
    """A share of the recorded machines (`x0.9`) or their absolute number; exactly one is set.

    Above the recorded number the engine adds copies of recorded machines.
    """

    factor: float | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if (self.factor is None) == (self.count is None):
            raise InputError("a cluster size is either a factor (x0.9) or a number of machines")
        if (self.factor is not None and not 0 < self.factor <= 100) or (self.count is not None and self.count < 1):
            raise InputError(f"a cluster has at least one machine and at most 100 times the recorded ones, not {self}")

    @classmethod
    def parse(cls, text: str | int) -> ClusterSize:
        """`x0.9` is nine tenths of the recorded machines, `11000` that many machines."""
        word = str(text).strip()
        if re.fullmatch(r"x\d+(\.\d+)?", word):
            return cls(factor=float(word[1:]))
        if re.fullmatch(r"\d+", word):
            return cls(count=int(word))
        raise InputError(f"a cluster size looks like x0.9 or 11000, not {text!r}")

    def machines(self, recorded: int) -> int:
        """How many machines this is in a cluster of `recorded` machines: at least one."""
        return self.count if self.count is not None else max(1, round(recorded * (self.factor or 1.0)))

    def __str__(self) -> str:
        return f"x{self.factor:g}" if self.factor is not None else str(self.count)


@dataclass(frozen=True, slots=True)
class MachineShape:
    """Machines with exactly these capacities; a resource that is None may be anything."""

    cpu_milli: int | None = None
    memory_mib: int | None = None
    gpus: int | None = None

    def __post_init__(self) -> None:
        if self.cpu_milli is None and self.memory_mib is None and self.gpus is None:
            raise InputError("a machine shape names at least one of CPU, memory and GPUs; */* would drop every machine")

    @classmethod
    def parse(cls, text: str) -> MachineShape:
        """`64/256Gi` is 64 cores and 256 GiB; `64/*` any memory; `*/*/8` eight GPUs."""
        parts = text.strip().split("/")
        if len(parts) not in (2, 3):
            raise InputError(f"a machine shape looks like 64/256Gi or 64/256Gi/8 (cores/memory/GPUs), not {text!r}")
        gpus = parts[2] if len(parts) == 3 else "*"
        if gpus != "*" and not gpus.isdigit():
            raise InputError(f"a machine shape has whole GPUs, not {gpus!r}")
        return cls(
            None if parts[0] == "*" else parse_cpu_milli(parts[0]),
            None if parts[1] == "*" else parse_memory_mib(parts[1]),
            None if gpus == "*" else int(gpus),
        )

    def __str__(self) -> str:
        cpu = "*" if self.cpu_milli is None else f"{self.cpu_milli}m"
        memory = "*" if self.memory_mib is None else f"{self.memory_mib}Mi"
        return f"{cpu}/{memory}" + ("" if self.gpus is None else f"/{self.gpus}")


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """One replay: which trace, under which policy, on which cluster, for which window.

    from_us, to_us: the window, microseconds since the trace's start; None is the trace's own end.
    initial: start from what was recorded to be running at the window's start, or from an empty cluster.
    overcommit: (resource column, factor) pairs; a node's capacity for requests is multiplied by the factor. Beyond that
    a node is overloaded, also in a recorded replay, which refuses nothing.
    load: what counts as overload: requests, or what the trace says that tasks use.
    settings: (name, value) pairs for the policy's planner, values as written.
    node_failures: share of the nodes that go down once, for node_outage_us, at times drawn from the seed.
    preemption: what the policy says, or on or off whatever it says.
    interval_us: distance of the samples in `series`.
    faults: an imported trace of faults, or "fitted", whose nodes' lives the machines get; None: machines as recorded.
    """

    trace: Path
    out: Path
    mode: Mode = "what-if"
    policy: str = "best-fit"
    seed: int = 0
    nodes: ClusterSize = ClusterSize(factor=1.0)
    drop_shape: tuple[MachineShape, ...] = ()
    scale_load: float = 1.0
    from_us: int | None = None
    to_us: int | None = None
    initial: Initial = "recorded"
    overcommit: tuple[tuple[str, float], ...] = ()
    preemption: Preemption = "policy"
    interval_us: int = 300_000_000
    faults: str | None = None
    load: Load = "requests"
    settings: tuple[tuple[str, str], ...] = ()
    node_failures: float = 0.0
    node_outage_us: int = 1_800_000_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "overcommit", tuple(sorted(self.overcommit)))
        object.__setattr__(self, "settings", tuple(sorted(self.settings)))
        if self.mode == "recorded":
            object.__setattr__(self, "policy", "recorded")
        wrong = [message for is_wrong, message in self._rules() if is_wrong]
        if wrong:
            raise InputError("; ".join(wrong))

    def _rules(self) -> Iterable[tuple[bool, str]]:
        changed = [name for name in _WHAT_IF_ONLY if getattr(self, name) != _DEFAULTS[name]]
        yield self.mode not in MODES, f"mode is one of {', '.join(MODES)}, not {self.mode!r}"
        yield self.initial not in INITIALS, f"initial is one of {', '.join(INITIALS)}, not {self.initial!r}"
        preemptions = ", ".join(PREEMPTIONS)
        yield self.preemption not in PREEMPTIONS, f"preemption is one of {preemptions}, not {self.preemption!r}"
        yield self.load not in LOADS, f"load is one of {', '.join(LOADS)}, not {self.load!r}"
        yield not 0 <= self.node_failures <= 1, f"node-failures is a share from 0 to 1, not {self.node_failures:g}"
        yield self.node_outage_us < 1_000_000, f"an outage is 1s or longer, not {format_duration(self.node_outage_us)}"
        names = [name for name, _ in self.settings]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield True, f"parameter {name} is set twice"
        yield (
            self.mode == "recorded" and bool(changed),
            f"recorded mode applies what happened, so it takes no {', '.join(changed)}: use --mode what-if",
        )
        yield (
            self.mode == "what-if" and self.policy == "recorded",
            "policy 'recorded' decides nothing: use --mode recorded, or name a policy",
        )
        yield not self.policy, "a policy has a name"
        yield not 0 <= self.seed < 2**63, f"a seed is a whole number from 0 below 2^63, not {self.seed}"
        yield not 0 < self.scale_load <= 100, f"scale-load is above 0 and at most 100, not {self.scale_load:g}"
        yield self.interval_us < 1_000_000, f"the interval is at least 1s, not {format_duration(self.interval_us)}"
        yield (self.from_us or 0) < 0, f"the window starts at 0 or later, not at {self.from_us} us"
        yield (
            self.to_us is not None and self.to_us <= (self.from_us or 0),
            f"the window must end after it starts: from {format_duration(self.from_us or 0)} "
            f"to {format_duration(self.to_us or 0)}",
        )
        for resource, factor in self.overcommit:
            yield (
                resource not in RESOURCES.values() and "/" not in resource,
                f"over-commitment knows {', '.join(RESOURCES)} and resources like example.com/fpga, not {resource!r}",
            )
            yield not 0 < factor <= 100, f"an over-commitment factor is above 0 and at most 100, not {factor:g}"
        twice = {name for name, _ in self.overcommit if [other for other, _ in self.overcommit].count(name) > 1}
        yield bool(twice), f"over-commitment of {', '.join(sorted(twice))} is given twice"

    def facts(self) -> dict[str, Any]:
        """The options as JSON values with one spelling each; paths, mode, policy and seed are left out."""
        return {
            "nodes": str(self.nodes),
            "drop_shape": [str(shape) for shape in self.drop_shape],
            "scale_load": self.scale_load,
            "from_us": self.from_us,
            "to_us": self.to_us,
            "initial": self.initial,
            "overcommit": dict(self.overcommit),
            "preemption": self.preemption,
            "interval_us": self.interval_us,
        } | self._rare_facts()

    def _rare_facts(self) -> dict[str, Any]:
        """What is named only where it is given, so that other runs stay what they were."""
        rare: dict[str, Any] = {} if self.faults is None else {"faults": self._faults_by_content()}
        if self.load != "requests":
            rare["load"] = self.load
        if self.settings:
            rare["set"] = dict(self.settings)
        if self.node_failures:
            rare |= {"node_failures": self.node_failures, "node_outage_us": self.node_outage_us}
        return rare

    def _faults_by_content(self) -> str:
        from analytics.facts import trace_facts

        return "fitted" if self.faults == "fitted" else trace_facts(Path(str(self.faults))).checksum


_WHAT_IF_ONLY = (
    "nodes", "drop_shape", "scale_load", "initial", "preemption", "faults", "settings", "node_failures",
    "node_outage_us",
)  # fmt: skip
_DEFAULTS = {field.name: field.default for field in fields(ReplayOptions)}


def parse_duration_us(text: str) -> int:
    """`12h`, `1.5d`, `1h30m`, `300s` in microseconds; a bare 0 needs no unit, every other number does."""
    word = str(text).strip()
    if word == "0":
        return 0
    if not _DURATION.fullmatch(word):
        raise InputError(f"a duration has a unit (us, ms, s, m, h or d), as in 90s, 12h, 1.5d or 1h30m, not {text!r}")
    total_us = round(sum(float(number) * _US[unit] for number, unit in _DURATION_PART.findall(word)))
    if total_us >= 2**63:
        raise InputError(f"a duration is shorter than 292,000 years, not {text!r}")
    return total_us


def format_duration(duration_us: int) -> str:
    """The same, back: the largest units first, without empty parts."""
    parts, rest = [], duration_us
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, rest = divmod(rest, _US[unit])
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def parse_cpu_milli(text: str) -> int:
    """Kubernetes' CPU quantity in millicores: `64`, `0.5`, `500m`."""
    if not (match := _CPU.fullmatch(text.strip())):
        raise InputError(f"a CPU quantity looks like 64, 0.5 or 500m, not {text!r}")
    return round(float(match[1]) * (1 if match[2] else 1000))


def parse_memory_mib(text: str) -> int:
    """A memory quantity with its binary suffix in MiB: `256Gi`, `512Mi`."""
    if not (match := _MEMORY.fullmatch(text.strip())):
        raise InputError(f"a memory quantity looks like 256Gi or 512Mi, not {text!r}")
    return round(float(match[1]) * _MIB[match[2]])


def parse_overcommit(given: Iterable[str] | Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """`["cpu=1.2", "memory=1.1"]` or `{"cpu": 1.2}` as (column, factor) pairs."""
    if isinstance(given, Mapping):
        return tuple((RESOURCES.get(name, name), float(factor)) for name, factor in given.items())
    pairs = []
    for text in given:
        name, equals, factor = text.partition("=")
        if not equals or not re.fullmatch(r"\d+(\.\d+)?", factor):
            raise InputError(f"an over-commitment looks like cpu=1.2, not {text!r}")
        pairs.append((RESOURCES.get(name, name), float(factor)))
    return tuple(pairs)


def parse_settings(given: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """`["interval_s=60"]` as (name, value) pairs."""
    pairs = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise InputError(f"a parameter is set as in interval_s=60, not {text!r}")
        pairs.append((name.strip(), value.strip()))
    return tuple(pairs)
