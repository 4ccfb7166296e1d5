"""Published serverless files in, canonical trace out: the real samples, and days of 50,000 functions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.benchmarks.harness import ROOT, Report, median_of, stowage

DATA = ROOT.parent / "shared" / "data"
REAL = (
    ("Azure 2019, sample 500", "azure2019", "azure_functions/2019_invitro_sample/500"),
    ("Azure 2019, 14 days of the platform", "azure2019", "azure_functions/2019_aggregate"),
    ("Azure 2021, first rows", "azure2021", "azure_functions/2021"),
    ("Huawei 2025, counts of 31 days", "huawei2025", "huawei_serverless/cold_starts_per_minute_R1_R5.csv.gz"),
)


def bench(work: Path) -> Report:
    report = Report("serverless_import", "stowage trace import of serverless traces (real files: median of 3)")
    for row, format_name, source in REAL:
        if (DATA / source).exists():
            words = ("trace", "import", format_name, DATA / source, "-o", work / "real", "--force")
            found, cost = median_of(3, partial(stowage, *words))
            report.add(row, rows=sum(found["rows"].values()), cpu_s=cost.cpu_s, peak_rss_mib=cost.peak_rss_mib)
    for days in (1, 4):
        source = work / f"azure-{days}"
        if not source.exists():
            stowage("trace", "synth", "azure2019", "--functions", "50000", "--days", str(days), "-o", source)
        size = sum(file.stat().st_size for file in source.iterdir())
        found, cost = stowage("trace", "import", "azure2019", source, "-o", work / "generated", "--force")
        rows = found["rows"]["invocations"]
        report.add(
            f"Azure 2019, generated, {found['rows']['functions']:,} functions, days: {days}", rows=rows, mb=size / 1e6,
            cpu_s=cost.cpu_s, rows_per_cpu_s=rows / cost.cpu_s, mb_per_cpu_s=size / 1e6 / cost.cpu_s,
            peak_rss_mib=cost.peak_rss_mib, target="<= 4096 MiB",
        )  # fmt: skip
    report.notes.append("Rows are those of the canonical tables. CPU seconds hold the start of Python, about 1 s.")
    return report
