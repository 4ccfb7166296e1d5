"""Kubernetes quantities ("500m", "1.5Gi", "2e3") as exact integers.

Grammar: apimachinery `pkg/api/resource/quantity.go`. A quantity that is no whole number of the wanted unit is rounded
up, as `Quantity.Value()` and `MilliValue()` do. What does not fit a signed 64-bit integer is refused, where Kubernetes
silently caps it: a node of 9.2 exabytes is a typing error, and arithmetic on it would overflow.
"""

from __future__ import annotations

import re
from decimal import Decimal, localcontext
from functools import lru_cache

LARGEST = 2**63 - 1

_GRAMMAR = re.compile(
    r"(?P<sign>[+-]?)(?P<digits>\d+(?:\.\d*)?|\.\d+)(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?\d+))?"
)
_SCALE = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


def parse_quantity(text: str | int | float, unit: Decimal | int = 1) -> int:
    """The quantity in units of `unit` (a thousandth for CPU), rounded up to a whole number.

    Raises ValueError, naming the value and the rule, for text outside the grammar, a negative value, or one beyond
    2^63-1 units.
    """
    if isinstance(text, str) and len(text) <= _SHORT:
        return _parse_short(text, unit)
    return _parse(text, unit)


_SHORT = 24
"""Quantities that people write are short, and a cluster has few different ones."""


@lru_cache(maxsize=4096)
def _parse_short(text: str, unit: Decimal | int) -> int:
    return _parse(text, unit)


def _parse(text: str | int | float, unit: Decimal | int) -> int:
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is not a quantity")
    shown = f'"{text}"' if isinstance(text, str) else repr(text)
    match = _GRAMMAR.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{shown} is no quantity: a number, then one of n u m k M G T P E Ki Mi Gi Ti Pi Ei, or 2e3")
    exponent = int(match["exponent"] or 0)
    if abs(exponent) > 40:
        raise ValueError(f"{shown} is out of range: a quantity is at most 2^63-1")
    with localcontext() as context:
        context.prec = 120
        value = Decimal(match["digits"]) * (_SCALE[match["suffix"]] if match["suffix"] else Decimal(10) ** exponent)
        units = value / Decimal(unit)
        whole = int(units)
        if units > whole:
            whole += 1
    if match["sign"] == "-" and whole:
        raise ValueError(f"{shown} is negative: a quantity is at least 0")
    if whole > LARGEST:
        raise ValueError(f"{shown} is out of range: a quantity is at most 2^63-1")
    return whole


_MILLI = Decimal("0.001")


def parse_resource(name: str, text: str | int | float) -> int:
    """A resource's quantity in our unit for it: millicores for `cpu`, base units (bytes, devices, pods) otherwise."""
    return parse_quantity(text, _MILLI if name == "cpu" else 1)


def format_resource(name: str, amount: int) -> str:
    """`amount` of a resource the way people write it: 1500 of cpu is "1500m", 2^30 of memory "1Gi"."""
    if name == "cpu":
        return f"{amount}m" if amount % 1000 else str(amount // 1000)
    if name == "memory" or name.startswith(("ephemeral-storage", "hugepages-")):
        for suffix, scale in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
            if amount >= scale:
                return f"{amount // scale}{suffix}" if amount % scale == 0 else f"{amount / scale:.1f}{suffix}"
    return str(amount)
