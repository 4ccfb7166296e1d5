-- One row per interval and resource: what the cluster had and what became of it, in the resource's unit.
-- width_us: how long the sample stands for, until the next one or the window's end. used is NULL without usage data.
with long as (
    from series
    unpivot include nulls (value for name in (columns('^(capacity|requested|used|stranded)_')))
),
named as (
    select
        time_us,
        regexp_extract(name, '^(capacity|requested|used|stranded)_', 1) as kind,
        regexp_replace(name, '^(capacity|requested|used|stranded)_', '') as resource,
        value
    from long
),
widths as (
    select time_us, lead(time_us, 1, run_window.closes_us) over (order by time_us) - time_us as width_us
    from series
    cross join run_window
)
select
    named.time_us,
    widths.width_us,
    named.resource,
    max(named.value) filter (kind = 'capacity') as capacity,
    max(named.value) filter (kind = 'requested') as requested,
    max(named.value) filter (kind = 'used') as used,
    max(named.value) filter (kind = 'stranded') as stranded
from named
join widths using (time_us)
group by named.time_us, widths.width_us, named.resource
