"""The stated price and power model: what a unit of each resource costs per hour, and what it draws.

A node's power is idle + (peak - idle) x CPU share, with idle and peak proportional to its size; so over a cluster only
the resource totals matter. The defaults are round numbers, assumptions and not measurements, so that two runs can be
compared at all: put your own in a TOML file with these field names.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from analytics.errors import InputError


@dataclass(frozen=True, slots=True)
class CostModel:
    """USD per hour and watts, per core, GiB of memory and GPU. Disk is taken as part of the rest."""

    core_hour_usd: float = 0.03
    gib_hour_usd: float = 0.004
    gpu_hour_usd: float = 2.0
    core_idle_w: float = 1.5
    core_peak_w: float = 4.0
    gpu_idle_w: float = 50.0
    gpu_peak_w: float = 400.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise InputError(f"{field.name} of the cost model is a number of at least 0, not {value!r}")
        if self.core_peak_w < self.core_idle_w or self.gpu_peak_w < self.gpu_idle_w:
            raise InputError("peak power of the cost model is at least idle power")

    @classmethod
    def read(cls, path: Path) -> CostModel:
        """A model from a TOML file; what it does not name keeps its default."""
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as broken:
            raise InputError(f"{path} cannot be read as TOML: {broken}") from broken
        names = [field.name for field in fields(cls)]
        if unknown := sorted(set(given) - set(names)):
            raise InputError(f"{path}: a cost model has {', '.join(names)}, not {', '.join(unknown)}")
        return cls(**given)

    def rates(self) -> list[dict[str, Any]]:
        """Per resource column, for one of its units (millicore, MiB, thousandth of a GPU)."""
        return [
            _rate("cpu_milli", self.core_hour_usd / 1000, self.core_idle_w / 1000, self.core_peak_w / 1000),
            _rate("memory_mib", self.gib_hour_usd / 1024, 0.0, 0.0),
            _rate("gpu_milli", self.gpu_hour_usd / 1000, self.gpu_idle_w / 1000, self.gpu_peak_w / 1000),
        ]

    def to_json(self) -> dict[str, float]:
        return {name: float(value) for name, value in asdict(self).items()}


def _rate(resource: str, usd_per_unit_hour: float, idle_w_per_unit: float, peak_w_per_unit: float) -> dict[str, Any]:
    return {
        "resource": resource,
        "usd_per_unit_hour": usd_per_unit_hour,
        "idle_w_per_unit": idle_w_per_unit,
        "peak_w_per_unit": peak_w_per_unit,
    }
