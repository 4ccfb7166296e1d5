"""Quantities, against Kubernetes' grammar and rounding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.quantity import format_resource, parse_quantity, parse_resource


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("1", 1), ("1.5Gi", 3 * 2**29), ("2e3", 2000), ("2E3", 2000), ("1E", 10**18), ("7Ei", 7 * 2**60),
     ("128974848", 128974848), ("129e6", 129_000_000), ("129M", 129_000_000), ("123Mi", 123 * 2**20), (".5k", 500),
     ("5.", 5), ("+3", 3), ("1n", 1), ("999999999n", 1), ("1000000001n", 2), ("100m", 1), ("-0", 0), (4, 4), (0.5, 1),
     ("1e-3", 1), ("12Ki", 12288), ("3P", 3 * 10**15), ("2Ti", 2**41)],
)  # fmt: skip
def test_quantity_is_read_exactly_and_rounded_up(text, value):
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    ("text", "milli"), [("1", 1000), ("250m", 250), ("0.1", 100), ("1u", 1), ("1.0005", 1001), (2, 2000)]
)
def test_cpu_is_in_millicores(text, milli):
    assert parse_resource("cpu", text) == milli


@pytest.mark.parametrize(
    "text", ["", "5x", "1e400", "-1", "1Zi", "1 Gi", "0x10", "1e", "--1", "Ki", "1.2.3", "1e5Ki", "8Ei", "9.3E"]
)
def test_broken_or_absurd_quantity_is_refused_by_name(text):
    with pytest.raises(ValueError, match=r"quantity|range|negative"):
        parse_quantity(text)


@given(st.integers(0, 10**12), st.sampled_from(["", "k", "M", "Ki", "Mi"]))
def test_whole_numbers_survive_every_suffix(number, suffix):
    scale = {"": 1, "k": 1000, "M": 10**6, "Ki": 1024, "Mi": 2**20}[suffix]
    assert parse_quantity(f"{number}{suffix}") == number * scale


def test_amounts_are_written_as_people_write_them():
    assert format_resource("cpu", 1500) == "1500m"
    assert format_resource("cpu", 2000) == "2"
    assert format_resource("memory", 2**30) == "1Gi"
    assert format_resource("nvidia.com/gpu", 4) == "4"
