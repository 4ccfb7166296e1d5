-- Free capacity that a common request could not use: one row per resource; share of the capacity, 0 to 1.
-- For each sampled time and common shape, what is free on nodes where that shape does not fit; averaged over shapes by
-- weight and over time. This is the expected share a request drawn from the common ones finds unusable.
with long as (
    from shapes
    unpivot include nulls (unusable for name in (columns('^unusable_')))
),
weighted as (
    select
        time_us,
        regexp_replace(name, '^unusable_', '') as resource,
        unusable,
        round(weight * 1e6)::bigint as weight_ppm
    from long
),
sampled as (
    select resource, capacity, unusable, weight_ppm
    from weighted
    asof join capacity using (resource, time_us)
)
select
    resource,
    sum(unusable::hugeint * weight_ppm) / nullif(sum(capacity::hugeint * weight_ppm), 0) as fragmented
from sampled
group by resource
order by resource
