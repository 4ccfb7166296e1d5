"""Settings of `stowage planner`; every key with its unit and effect. Times are seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from scheduler.core.balance.methods import METHODS
from scheduler.live.planner.plan_resource import Mode
from scheduler.live.settings import LogLevel, Settings


class PlannerSettings(Settings):
    """See the module."""

    model_config = SettingsConfigDict(env_prefix="STOWAGE_PLANNER_", extra="forbid", frozen=True)

    mode: Mode = Field("observe", description="observe: propose only. approve: wait for a person. auto: carry out.")
    namespaces: dict[str, Mode] = Field({}, description="Mode of single namespaces, instead of `mode`.")
    scheduler: str = Field("stowage", description="Pods with this schedulerName are planned and moved, no others.")
    order: str = Field("no-harm", pattern="^(no-harm|max-pack)$", description="As of `stowage pack`.")
    solve_s: float = Field(2.0, gt=0, le=3600, description="Search time of one solve.")
    quiet_s: float = Field(0.5, ge=0, description="Solve once no further pod has begun to wait for this long.")
    patience_s: float = Field(3.0, gt=0, description="Solve at the latest this long after the first pod waits.")
    rest_s: float = Field(300.0, ge=0, description="A pod that was moved is not moved again for this long.")
    defragment_cron: str = Field("", description="When to look for fewer nodes, as five cron fields; empty: never.")

    budget_window_s: float = Field(3600.0, gt=0, description="Length of the window of the disruption budget.")
    budget_total: int = Field(100, ge=0, description="Evictions in any such window, in all.")
    budget_per_namespace: int = Field(50, ge=0, description="Evictions in any such window, in one namespace.")
    budget_namespaces: dict[str, int] = Field({}, description="The same for single namespaces.")
    at_once: int = Field(10, ge=1, description="Evictions under way at the same time.")
    eviction_s: float = Field(120.0, gt=0, description="A plan stops when a disruption budget refuses for this long.")
    replacement_s: float = Field(60.0, gt=0, description="A plan stops when no replacement appears for this long.")
    bind_s: float = Field(60.0, gt=0, description="A plan stops when a pod is not bound to its node for this long.")
    plan_s: float = Field(900.0, gt=0, description="A plan stops after this long in any case.")
    drain_s: float = Field(30.0, gt=0, description="A stopping plan brings evicted pods to a place for this long.")
    keep_plans: int = Field(50, ge=1, description="Finished plans kept; those in the budget's window always are.")

    node_health: Literal["disabled", "observe", "auto"] = Field(
        "observe",
        description="Nodes that monitors call broken. observe: tell it in events. auto: also annotate and taint them.",
    )
    node_scan_s: float = Field(10.0, gt=0, description="Look at the nodes' health this often.")
    quarantine_s: float = Field(600.0, gt=0, description="A quarantine lasts this long after its fault was last seen.")
    quarantine_share: float = Field(0.10, gt=0, le=1, description="Share of nodes taken in one window; always one.")
    quarantine_window_s: float = Field(600.0, gt=0, description="Length of that window.")

    price_round: Literal["disabled", "observe", "auto"] = Field(
        "disabled",
        description="What nodes cost, by what pods bid. observe: tell it. auto: also annotate the nodes.",
    )
    price_round_s: float = Field(60.0, ge=0.2, description="Hold a price round this often.")
    price_writes: int = Field(200, ge=1, description="Nodes whose price one round may change.")
    price_reserve: float = Field(
        0.0, ge=0, le=1e9,
        description="What a whole node costs at least where 70 % of such nodes are used, more above, less below; "
        "0: what nobody is kept from costs nothing. A pod of priority 0 bids 1.",
    )  # fmt: skip
    price_step: float = Field(0.05, ge=0, lt=1, description="Least change of a price that is written: a share of it.")
    price_pace: float = Field(0.5, gt=0, le=1, description="Share of the way to its new price that one round goes.")

    rebalance: Literal["disabled", "observe", "approve"] = Field(
        "disabled",
        description="Moves off overloaded nodes. observe: propose only. approve: wait for a person, where the mode is "
        "approve or auto.",
    )
    rebalance_cron: str = Field("", description="When to look, as five cron fields; empty: every rebalance_s.")
    rebalance_s: float = Field(300.0, ge=1, description="Look for overloaded nodes this often.")
    rebalance_load: Literal["requests", "use"] = Field(
        "requests", description="What loads a node. use: as metrics.k8s.io has it, of a pod it does not know requests."
    )
    rebalance_resources: list[str] = Field(["cpu", "memory"], description="Resources whose load is limited.")
    rebalance_target: float = Field(
        0.8, gt=0, le=1, description="A node is overloaded above this share of what it offers."
    )
    rebalance_threshold: float = Field(
        0.9, gt=0, le=1, description="Nothing is moved unless a node is above this share; at least the target."
    )
    rebalance_method: str = Field("cover", description="As of `stowage balance --method`.")
    rebalance_solve_s: float = Field(10.0, gt=0, le=3600, description="Search time of one rebalance.")

    kubeconfig: str = Field("", description="Path of a kubeconfig; empty: the pod's own cluster, or $KUBECONFIG.")
    context: str = Field("", description="Context of the kubeconfig; empty: its current one.")
    lease_namespace: str = Field("", description="Namespace of the Lease; empty: the pod's own.")
    lease_name: str = Field("stowage-planner", description="Name of the Lease.")
    lease_s: float = Field(15.0, ge=3, description="A silent leader is believed for this long.")
    identity: str = Field("", description="Name of this process in the Lease; empty: host name and a random part.")
    host: str = Field("0.0.0.0", description="Address of /healthz, /readyz, /metrics and /pods.")
    port: int = Field(8788, ge=0, le=65535, description="TCP port of the same; 0: any free one.")
    journal: str = Field("/var/lib/stowage/journal", description="Folder of the journal; empty: none is kept.")
    journal_flush_s: float = Field(60.0, gt=0, description="Write a segment of the journal this often.")
    journal_keep_days: float = Field(30.0, gt=0, description="Segments older than this are deleted.")
    journal_mib: int = Field(1024, ge=1, description="The oldest segments beyond this size are deleted.")
    log_level: LogLevel = Field("info", description="Least level that is logged.")

    @model_validator(mode="after")
    def check_rebalance(self) -> Self:
        """Refuse what cannot be meant, all of it at once."""
        wrong = list(_wrong_rebalance(self)) if self.rebalance != "disabled" else []
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def _wrong_rebalance(settings: PlannerSettings) -> Iterator[str]:
    from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped, unused-ignore]

    if settings.rebalance == "approve" and not {settings.mode, *settings.namespaces.values()} - {"observe"}:
        yield "rebalance approve needs a mode of approve or auto, in all namespaces or in some: only there pods move"
    if settings.rebalance_method not in METHODS:
        yield f"rebalance_method {settings.rebalance_method}: choose {', '.join(METHODS)}"
    if settings.rebalance_threshold < settings.rebalance_target:
        yield (
            f"rebalance_threshold {settings.rebalance_threshold} is below rebalance_target "
            f"{settings.rebalance_target}: moves begin above the threshold and end at the target"
        )
    if not settings.rebalance_resources or len(set(settings.rebalance_resources)) < len(settings.rebalance_resources):
        yield f"rebalance_resources {settings.rebalance_resources}: at least one, each once"
    if settings.rebalance_cron:
        try:
            CronTrigger.from_crontab(settings.rebalance_cron)
        except ValueError as error:
            yield f"rebalance_cron {settings.rebalance_cron!r}: {error}"
