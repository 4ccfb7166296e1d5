-- What the work was worth: one row, in worth x dominant share of the cluster x hours; free work that fills the cluster for
-- an hour is 1. kept: of runs that ended, or went on when the window closed. lost: from the first start of those that
-- started again to the last one, and recorded runs that ended in an eviction. waiting: of what was waited for.
select
    coalesce(sum(value * kept_us), 0) / 3.6e18 as kept,
    coalesce(sum(value * (ran_us - kept_us)), 0) / 3.6e18 as lost,
    coalesce(sum(value * queued_us), 0) / 3.6e18 as waiting
from work
