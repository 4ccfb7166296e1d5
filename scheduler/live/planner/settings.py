"""Settings of `stowage planner`; every key with its unit and effect. Times are seconds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

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
