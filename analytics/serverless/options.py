"""What one serverless replay is asked to do, and how people write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast, get_args

from analytics.errors import InputError
from analytics.options import format_duration, parse_duration_us, parse_memory_mib
from scheduler.core.serverless import get_serverless_policy
from scheduler.core.serverless.policy import ServerlessPolicy, Unit

Level = Literal["function", "app"]
Grain = Literal["minute", "event"]
COMPONENTS: Final = ("pod_allocation", "deploy_code", "deploy_dependency", "scheduling")


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy with its parameters, as in `fixed:keep-alive=20m`; parameters that are not given have their default."""

    name: str
    given: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.policy.settings(self.given)

    def __hash__(self) -> int:
        return hash(self.label)

    @property
    def policy(self) -> ServerlessPolicy:
        return get_serverless_policy(self.name)

    @property
    def settings(self) -> tuple[float, ...]:
        return self.policy.settings(self.given)

    @property
    def label(self) -> str:
        """The one spelling of it: parameters in order, those not given left out."""
        units = {parameter.name: parameter.unit for parameter in self.policy.parameters}
        shown = ",".join(f"{name}={show(self.given[name], unit)}" for name, unit in units.items() if name in self.given)
        return f"{self.name}:{shown}" if shown else self.name

    @property
    def parameters(self) -> dict[str, float]:
        """Every parameter by name; a duration in seconds."""
        return {
            parameter.name: value / 1e6 if parameter.unit == "duration" else value
            for parameter, value in zip(self.policy.parameters, self.settings, strict=True)
        }

    @classmethod
    def parse(cls, text: str) -> PolicySpec:
        """`hybrid`, `hybrid:range=2h,cv=1.5`; InputError says what a parameter looks like."""
        name, _, rest = text.strip().partition(":")
        units = {parameter.name: parameter.unit for parameter in get_serverless_policy(name).parameters}
        given: dict[str, float] = {}
        for part in filter(None, rest.split(",")):
            key, equals, value = part.partition("=")
            if not equals or key in given:
                raise InputError(f"parameters of a policy look like {name}:name=value,name=value, not {rest!r}")
            given[key] = parse_value(value, units.get(key, "number"), key)
        return cls(name, given)


def parse_value(text: str, unit: Unit, name: str) -> float:
    """A parameter as people write it: a duration or memory with its unit, else a number."""
    if unit == "duration":
        return float(parse_duration_us(text))
    if unit == "memory":
        return float(parse_memory_mib(text))
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{name} is a number, not {text!r}") from error


def show(value: float, unit: Unit) -> str:
    if unit == "duration":
        return format_duration(round(value))
    return f"{value:.12g}Mi" if unit == "memory" else f"{value:.12g}"


def parse_speed_ups(given: Sequence[str]) -> dict[str, float]:
    """`["deploy_dependency=2"]` as {"deploy_dependency": 2.0}; `total` speeds up the whole cold start."""
    found: dict[str, float] = {}
    for text in given:
        name, equals, factor = text.partition("=")
        if not equals or name in found:
            raise InputError(f"a speed-up looks like deploy_dependency=2, each component once, not {text!r}")
        found[name] = parse_value(factor, "number", f"the speed-up of {name}")
    return found


@dataclass(frozen=True, slots=True)
class ServerlessOptions:
    """What a replay changes and how closely it looks; the policies come beside it.

    from_us, to_us: the window, in the trace's time; None is the trace's own end. concurrency: calls one pod serves at
    once, None as the trace says, else 1; event grain only. speed_ups: component of a cold start -> how many times
    faster. cold_start_us: of functions whose trace says nothing about theirs. regions: only functions of these.
    """

    level: Level = "function"
    grain: Grain = "minute"
    from_us: int | None = None
    to_us: int | None = None
    concurrency: int | None = None
    speed_ups: Mapping[str, float] = field(default_factory=dict)
    cold_start_us: int = 1_000_000
    regions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = []
        for name, value, allowed in (("level", self.level, get_args(Level)), ("grain", self.grain, get_args(Grain))):
            if value not in allowed:
                wrong.append(f"{name} is one of {', '.join(allowed)}, not {value!r}")
        if self.to_us is not None and self.to_us <= (self.from_us or 0):
            wrong.append("the window must end after it starts")
        if self.concurrency is not None and self.concurrency < 1:
            wrong.append(f"concurrency is at least 1, not {self.concurrency}")
        if self.concurrency is not None and self.grain == "minute":
            wrong.append("concurrency is of single calls: use --grain event")
        if self.cold_start_us < 0:
            wrong.append(f"a cold start takes at least 0 s, not {self.cold_start_us} us")
        for name, factor in self.speed_ups.items():
            if name not in (*COMPONENTS, "total"):
                wrong.append(f"a cold start's components are {', '.join(COMPONENTS)} and total, not {name!r}")
            if not 0 < factor <= 1e6:
                wrong.append(f"a speed-up is above 0 and at most 1,000,000, not {factor:g}")
        if wrong:
            raise InputError("; ".join(wrong))

    def facts(self) -> dict[str, Any]:
        """The options as JSON values."""
        return {
            "level": self.level, "grain": self.grain, "from_us": self.from_us, "to_us": self.to_us,
            "concurrency": self.concurrency, "speed_ups": dict(self.speed_ups), "cold_start_us": self.cold_start_us,
            "regions": list(self.regions),
        }  # fmt: skip


def parse_options(
    level: str, grain: str, from_: str | None, to: str | None, concurrency: int | None, speed_up: Sequence[str],
    cold_start: str, region: Sequence[str],
) -> ServerlessOptions:  # fmt: skip
    """The options as the command line has them; InputError lists what is wrong."""
    return ServerlessOptions(
        level=cast(Level, level),
        grain=cast(Grain, grain),
        from_us=None if from_ is None else parse_duration_us(from_),
        to_us=None if to is None else parse_duration_us(to),
        concurrency=concurrency,
        speed_ups=parse_speed_ups(speed_up),
        cold_start_us=parse_duration_us(cold_start),
        regions=tuple(region),
    )


def parse_specs(policies: Sequence[str], keep_alives: Sequence[str]) -> list[PolicySpec]:
    """Every policy with every keep-alive that it can take and does not state itself; `fixed` where none is named.

    InputError where a keep-alive is given that no policy takes, or a policy is given twice.
    """
    specs, is_taken = [], not keep_alives
    for text in policies or ["fixed"]:
        spec = PolicySpec.parse(text)
        if keep_alives and "keep-alive" not in spec.given and "keep-alive" in spec.parameters:
            is_taken = True
            times = [parse_value(time, "duration", "keep-alive") for time in keep_alives]
            specs += [PolicySpec(spec.name, {**spec.given, "keep-alive": time}) for time in times]
        else:
            specs.append(spec)
    if not is_taken:
        raise InputError(f"--keep-alive is of policies with that parameter, not of {', '.join(policies)}")
    labels = [spec.label for spec in specs]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise InputError(f"{', '.join(twice)} is given twice")
    return specs
