"""The pages, in the order of the menu. Each module has `render()`, and is imported when it is first opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# What is shown to people who may see some namespaces only: these pages leave the others out.
LIMITED: Final = ("pending", "plan")


@dataclass(frozen=True, slots=True)
class PageInfo:
    """module: of this package. question: the one that the page answers."""

    module: str
    title: str
    question: str
    icon: str
    section: str

    @property
    def path(self) -> str:
        """The last part of its address; the first page is at the top."""
        return "" if self is PAGES[0] else self.module.replace("_", "-")


PAGES: Final = (
    PageInfo("overview", "Overview", "Is the cluster well packed, and what should I do today?", "dashboard", "Cluster"),
    PageInfo("nodes", "Nodes", "Where are the holes?", "grid_view", "Cluster"),
    PageInfo("fragmentation", "Fragmentation", "Which shapes no longer fit, at what cost?", "broken_image", "Cluster"),
    PageInfo("pending", "Pending", "Why does this pod wait, and what would free it?", "hourglass_empty", "Cluster"),
    PageInfo("plan", "Plan", "What moves, in what order, at what risk?", "swap_horiz", "Cluster"),
    PageInfo("would_it_fit", "Would it fit?", "If I submit this, what happens?", "fit_screen", "Cluster"),
    PageInfo("compare", "Compare", "Which policy is better on my trace?", "compare_arrows", "Studies"),
    PageInfo("replay", "Replay", "What happened between two instants?", "history", "Studies"),
    PageInfo("auction", "Auction", "Who got what, at what price, and was it fair?", "gavel", "Studies"),
    PageInfo("gpu_faults", "GPU faults", "Which part is broken, and are the spares enough?", "healing", "Studies"),
    PageInfo("serverless", "Serverless", "Where do cold starts come from, and what removes them?", "bolt", "Studies"),
    PageInfo("cost", "Cost and energy", "What do idle, stranded and useful capacity cost?", "payments", "Studies"),
    PageInfo("data", "Data", "Can I trust this input?", "dataset", "Trust"),
    PageInfo("system", "System", "Is Stowage healthy?", "monitor_heart", "Trust"),
)  # fmt: skip
