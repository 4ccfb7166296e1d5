-- Resource-time for the time bootstrap: one row per block of $block_us microseconds and resource; unit-microseconds.
-- used counts only where there is usage data, offered_where_used is the capacity there.
select
    (time_us - run_window.opens_us) // $block_us as block,
    resource,
    sum(capacity::hugeint * width_us)::double as offered,
    sum(requested::hugeint * width_us)::double as requested,
    sum(stranded::hugeint * width_us)::double as stranded,
    coalesce(sum(used::hugeint * width_us), 0)::double as used,
    coalesce(sum(capacity::hugeint * width_us) filter (used is not null), 0)::double as offered_where_used
from capacity
cross join run_window
group by block, resource
order by block, resource
