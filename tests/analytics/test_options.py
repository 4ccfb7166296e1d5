"""What people may write, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.errors import InputError
from analytics.options import (
    ClusterSize,
    MachineShape,
    ReplayOptions,
    format_duration,
    parse_cpu_milli,
    parse_duration_us,
    parse_memory_mib,
    parse_overcommit,
    parse_settings,
)


def some_options(**changes: Any) -> ReplayOptions:
    return ReplayOptions(**({"trace": Path("trace"), "out": Path("run")} | changes))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("12h", 43_200), ("1.5d", 129_600), ("1h30m", 5_400), ("0", 0), ("250ms", 0.25), ("0s", 0)],
)
def test_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_duration_us(text) == seconds * 1e6


@pytest.mark.parametrize("text", ["", "12", "h", "-1h", "1 h", "1y", "1h-30m", "nan", "1e3s", "9999999999d"])
def test_duration_without_unit_or_sense_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="duration"):
        parse_duration_us(text)


@given(st.integers(0, 2**53))
def test_duration_reads_back_what_it_writes(duration_us: int) -> None:
    assert parse_duration_us(format_duration(duration_us)) == duration_us


@pytest.mark.parametrize(("text", "machines"), [("x0.9", 90), ("x1", 100), ("x2", 200), ("37", 37), ("x0.001", 1)])
def test_cluster_size_counts_machines(text: str, machines: int) -> None:
    assert ClusterSize.parse(text).machines(recorded=100) == machines
    assert str(ClusterSize.parse(text)) == text


@pytest.mark.parametrize("text", ["0.9", "x", "x0", "0", "-5", "x-1", "90%", "x1000", ""])
def test_cluster_size_that_is_neither_factor_nor_count_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        ClusterSize.parse(text)


def test_machine_shape_names_capacities_or_any() -> None:
    assert MachineShape.parse("64/256Gi") == MachineShape(64_000, 262_144)
    assert MachineShape.parse("500m/*") == MachineShape(500)
    assert MachineShape.parse("*/*/8") == MachineShape(gpus=8)
    assert str(MachineShape.parse("64/256Gi/2")) == "64000m/262144Mi/2"


@pytest.mark.parametrize("text", ["*/*", "64", "64/256", "a/b", "64/256Gi/x", "64/256Gi/1/2", ""])
def test_machine_shape_that_says_nothing_or_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        MachineShape.parse(text)


def test_quantities_are_kubernetes_quantities() -> None:
    assert (parse_cpu_milli("0.5"), parse_cpu_milli("250m")) == (500, 250)
    assert (parse_memory_mib("2Gi"), parse_memory_mib("512Mi"), parse_memory_mib("1Ti")) == (2048, 512, 1_048_576)
    with pytest.raises(InputError, match="memory"):
        parse_memory_mib("512")


def test_overcommit_uses_column_names_and_one_order() -> None:
    written = parse_overcommit(["memory=1.1", "cpu=1.2"])
    assert some_options(overcommit=written).overcommit == (("cpu_milli", 1.2), ("memory_mib", 1.1))
    assert parse_overcommit({"cpu": 1.2}) == (("cpu_milli", 1.2),)
    with pytest.raises(InputError, match=r"cpu=1\.2"):
        parse_overcommit(["cpu"])


def test_recorded_mode_names_its_policy_itself() -> None:
    assert some_options(mode="recorded").policy == "recorded"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "replay"}, "mode is one of"),
        ({"initial": "half"}, "initial is one of"),
        ({"preemption": "maybe"}, "preemption is one of"),
        ({"policy": ""}, "a policy has a name"),
        ({"policy": "recorded"}, "use --mode recorded"),
        ({"seed": -1}, "seed"),
        ({"scale_load": 0.0}, "scale-load"),
        ({"scale_load": float("nan")}, "scale-load"),
        ({"interval_us": 10}, "interval"),
        ({"from_us": -1}, "starts at 0 or later"),
        ({"from_us": 10, "to_us": 10}, "end after it starts"),
        ({"overcommit": (("ram", 1.1),)}, "over-commitment knows"),
        ({"overcommit": (("cpu_milli", 0.0),)}, "over-commitment factor"),
        ({"overcommit": (("cpu_milli", 1.1), ("cpu_milli", 1.2))}, "given twice"),
        ({"mode": "recorded", "nodes": ClusterSize(factor=0.9)}, "takes no nodes"),
        ({"mode": "recorded", "scale_load": 2.0}, "takes no scale_load"),
        ({"mode": "recorded", "node_failures": 0.1}, "takes no node_failures"),
        ({"load": "usage"}, "load is one of requests, use"),
        ({"node_failures": 1.1}, "share from 0 to 1"),
        ({"node_failures": float("nan")}, "share from 0 to 1"),
        ({"node_outage_us": 0}, "1s or longer"),
        ({"settings": (("k", "1"), ("k", "2"))}, "k is set twice"),
    ],
)
def test_option_that_breaks_a_rule_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        some_options(**changes)


def test_all_broken_rules_are_listed_at_once() -> None:
    with pytest.raises(InputError, match=r"(?s)seed.*scale-load"):
        some_options(seed=-1, scale_load=-1.0)


def test_facts_carry_no_path() -> None:
    here, there = some_options(out=Path("/a/b")), some_options(out=Path("/c/d"), trace=Path("/e"))
    assert here.facts() == there.facts()
    assert "/a/b" not in str(here.facts())


def test_settings_are_names_and_values_in_one_order() -> None:
    assert some_options(settings=parse_settings(["k=2", "a = b=c"])).facts()["set"] == {"a": "b=c", "k": "2"}
    assert "set" not in some_options().facts()
    for text in ("k", "k=", "=2"):
        with pytest.raises(InputError, match="a parameter is set as in"):
            parse_settings([text])
