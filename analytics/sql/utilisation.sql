-- Shares of the cluster's capacity over the window: one row per resource, in the order of the resource's name.
-- requested, used, stranded: resource-time over capacity-time, 0 to 1 (requested may exceed 1 under over-commitment).
-- used: over the intervals that have usage data, NULL if none has. peak: largest requested share of an interval.
select
    resource,
    sum(requested::hugeint * width_us) / nullif(sum(capacity::hugeint * width_us), 0) as requested,
    sum(used::hugeint * width_us)
        / nullif(sum(capacity::hugeint * width_us) filter (used is not null), 0) as used,
    sum(stranded::hugeint * width_us) / nullif(sum(capacity::hugeint * width_us), 0) as stranded,
    max(requested / nullif(capacity, 0)) as peak
from capacity
group by resource
order by resource
