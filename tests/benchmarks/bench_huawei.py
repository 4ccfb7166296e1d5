"""The synthetic Huawei release at full size beside what it is drawn after: how far apart are they?

Takes the published counts per minute from ../shared/data/huawei_serverless where they are, else the modelled ones.
"""

from __future__ import annotations

import csv
import gzip
import math
from pathlib import Path
from statistics import NormalDist

import duckdb
import numpy as np

from tests.benchmarks.harness import ROOT, Report, stowage
from traces.synth.huawei import calibration as cal
from traces.synth.huawei.arrivals import COUNTS

PUBLISHED = ROOT.parent / "shared" / "data" / "huawei_serverless"
SHARES = np.linspace(0.005, 0.995, 199)


def bench(work: Path) -> Report:
    """Write the release, read it back, compare."""
    report = Report("huawei", "The synthetic Huawei release (31 days, five regions) and the published distributions")
    folder = work / "huawei"
    like = ["--like", PUBLISHED] if PUBLISHED.exists() else []
    found, cost = stowage("trace", "synth", "huawei2025", "--days", "31", "--seed", "1", "--force", "-o", folder, *like)
    report.add(
        "writing it",
        cold_starts=found["rows"]["cold_start"],
        mib=sum(path.stat().st_size for path in folder.rglob("*.csv")) / 2**20,
        cpu_s=cost.cpu_s,
        wall_s=cost.wall_s,
        peak_rss_mib=cost.peak_rss_mib,
    )
    compare(report, folder)
    report.notes.append("worst: largest difference as a share of the published figure; of hours, in cold starts.")
    return report


def compare(report: Report, folder: Path) -> None:
    con = duckdb.connect()
    con.execute(
        f"""CREATE VIEW starts AS SELECT *, regexp_extract(filename, 'cold_start/(R.)/', 1) AS region,
            totalCost_cold_start AS total FROM read_csv('{folder}/cold_start/R*/day_*.csv', filename = true)"""
    )
    means = con.execute(
        """SELECT region, avg(podAllocationCost), avg(deployCodeCost), avg(deployDependencyCost), avg(schedulingCost)
        FROM starts GROUP BY region ORDER BY region"""
    ).fetchall()
    for region, *seconds in means:
        off = np.abs(np.array(seconds) / cal.MEAN_S[region] - 1)
        report.add(f"{region}: means of the four components", worst=float(off.max()))
    if PUBLISHED.exists():
        report.add("cold starts of every hour and region", worst=hours_off(con))
    con.execute(
        f"""CREATE VIEW labelled AS SELECT * FROM starts JOIN (SELECT *, "triggerType-invocationType" AS trigger
            FROM read_csv('{folder}/runtime_triggerType/*.csv')) AS kinds ON funcID = concat_ws('---', funcName,
            userID, regexp_extract(podID, '(.*)-[0-9]+$', 1)) WHERE region = 'R2'"""
    )
    middle = cal.LEVELS.index(0.5)
    runtimes = dict(con.execute("SELECT runtime, median(total) FROM labelled GROUP BY 1").fetchall())
    report.add(
        "R2: medians by runtime", worst=max(abs(runtimes[name] / value - 1) for name, value in cal.TOTAL_MEDIAN.items())
    )
    triggers = dict(con.execute("SELECT trigger, median(total) FROM labelled GROUP BY 1").fetchall())
    report.add(
        "R2: medians by trigger",
        worst=max(
            abs(triggers[cal.TRIGGER_WORDS[name]] / curve[middle] - 1) for name, curve in cal.TOTAL_BY_TRIGGER.items()
        ),
    )
    refit(report, con)
    utility = con.execute(
        f"""WITH calls AS (SELECT podID, max(time_worker) AS last_s FROM read_csv('{folder}/per_request/R2/*.csv')
            GROUP BY podID)
        SELECT median((last_s + 60 - time - 60) / total) FROM calls JOIN starts USING (podID)
        WHERE region = 'R2' AND day = 30 AND last_s >= time"""
    ).fetchall()[0][0]
    report.add("R2: median pod utility", found=utility, published=4.283)


def hours_off(con: duckdb.DuckDBPyConnection) -> int:
    """The largest difference of an hour's cold starts."""
    rows_by_hour = con.execute("SELECT region, floor(time / 3600)::INT, count(*) FROM starts GROUP BY ALL").fetchall()
    hours = {(region, hour): count for region, hour, count in rows_by_hour}
    with gzip.open(PUBLISHED / f"{COUNTS}.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    worst = 0
    for region in cal.REGIONS:
        counts = np.array([int(row[region]) for row in rows]).reshape(-1, 60).sum(axis=1)
        worst = max(worst, *(abs(hours.get((region, n), 0) - int(count)) for n, count in enumerate(counts)))
    return worst


def refit(report: Report, con: duckdb.DuckDBPyConnection) -> None:
    """The same fit of a log-normal, least squares between normal scores and log quantiles, to both."""
    found = con.execute(f"SELECT quantile_cont(total, {SHARES.tolist()}) FROM starts").fetchall()[0][0]
    mu, sigma = fit(np.log(found))
    row = {"mu": mu, "sigma": sigma}
    if PUBLISHED.exists():
        curve = published_curve()
        row |= dict(zip(("published_mu", "published_sigma"), fit(curve), strict=True))
    report.add("all regions: log-normal refit", **row)


def published_curve() -> np.ndarray:
    path = PUBLISHED / "digitised_from_eurosys25_pdf" / "cdf_curves.csv.gz"
    with gzip.open(path, "rt") as file:
        points = [
            (float(row["cdf"]), math.log(float(row["x"])))
            for row in csv.DictReader(file)
            if (row["figure"], row["group"]) == ("fig10b", "all regions (data)")
        ]
    below, logs = (np.array(column) for column in zip(*points, strict=True))
    return np.interp(SHARES, below, logs)


def fit(logs: np.ndarray) -> tuple[float, float]:
    scores = np.array([NormalDist().inv_cdf(share) for share in SHARES.tolist()])
    sigma, mu = np.polyfit(scores, logs, 1)
    return float(mu), float(sigma)

