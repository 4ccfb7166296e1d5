"""What a component of Stowage tells Prometheus, read once: only addresses that the dashboard was started with."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass

import pandas as pd
from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 2.0
MOST_BYTES = 4 << 20
PERCENTILES = (0.5, 0.99)


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one address said. samples: columns name, labels (sorted text), value. problem: why there is none."""

    url: str
    samples: pd.DataFrame
    problem: str = ""

    def value(self, name: str) -> float | None:
        """The sum of a metric over its labels; None where it is absent."""
        rows = self.samples[self.samples["name"] == name]
        return float(rows["value"].sum()) if len(rows) else None


def scrape(url: str) -> Scrape:
    """Read an address; a failure is an answer."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            text = answer.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            return Scrape(url, _frame([]), f"it sends more than {MOST_BYTES >> 20} MiB")
        rows = [
            (sample.name, ", ".join(f"{key}={value}" for key, value in sorted(sample.labels.items())), sample.value)
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
        ]
    except (urllib.error.URLError, OSError, ValueError) as error:
        return Scrape(url, _frame([]), str(error))
    return Scrape(url, _frame(rows))


def latency(found: Scrape, histogram: str) -> pd.DataFrame:
    """One row per set of labels: requests, and percentiles in seconds as the buckets' upper ends tell them."""
    samples = found.samples[found.samples["name"] == f"{histogram}_bucket"]
    rows = []
    parts = samples["labels"].str.extract(r"^(?P<before>.*?)(?:, )?le=(?P<le>[^,]+)(?P<after>.*)$")
    labels = (parts["before"] + parts["after"]).str.strip(", ")
    for label, group in samples.assign(label=labels, le=parts["le"].astype(float)).groupby("label", sort=True):
        group = group.sort_values("le")
        total = float(group["value"].iloc[-1])
        row: dict[str, object] = {"of": label, "requests": total}
        for share in PERCENTILES:
            within = group[group["value"] >= share * total]
            row[f"p{share * 100:.0f}_at_most_s"] = float(within["le"].iloc[0]) if total else None
        rows.append(row)
    return pd.DataFrame(rows, columns=["of", "requests", *(f"p{share * 100:.0f}_at_most_s" for share in PERCENTILES)])


def _frame(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["name", "labels", "value"])
