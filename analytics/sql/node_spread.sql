-- How evenly the nodes were filled: one row per resource; percentiles over nodes of the mean requested share, 0 to 1.
with long as (
    from nodes
    unpivot include nulls (share for name in (columns('^share_')))
)
select
    regexp_replace(name, '^share_', '') as resource,
    quantile_disc(share, 0.1) as p10,
    quantile_disc(share, 0.5) as p50,
    quantile_disc(share, 0.9) as p90
from long
group by resource
order by resource
