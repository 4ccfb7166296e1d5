-- What the capacity cost and drew over the window: one row per part (useful, stranded, idle); USD and joules.
-- useful: requested, at most the capacity. stranded: free where no common request fits. idle: the rest.
-- Standing power follows the same split; power for work follows what was used (requested without usage data) and is
-- all useful. $rates: per resource, what one of its units costs per hour, and draws when idle and at full load.
with rates as (
    select unnest(
        $rates::struct(resource varchar, usd_per_unit_hour double, idle_w_per_unit double, peak_w_per_unit double)[],
        recursive := true)
),
split as (
    select
        resource,
        width_us,
        capacity,
        least(requested, capacity) as useful,
        least(stranded, capacity - least(requested, capacity)) as stranded,
        least(coalesce(used, requested), capacity) as working
    from capacity
),
unit_time as (
    select
        resource,
        sum(useful::hugeint * width_us) / 1e6 as useful_s,
        sum(stranded::hugeint * width_us) / 1e6 as stranded_s,
        sum((capacity - useful - stranded)::hugeint * width_us) / 1e6 as idle_s,
        sum(working::hugeint * width_us) / 1e6 as working_s
    from split
    group by resource
),
parts as (
    select resource, 'useful' as part, useful_s as unit_s, working_s from unit_time
    union all
    select resource, 'stranded', stranded_s, 0 from unit_time
    union all
    select resource, 'idle', idle_s, 0 from unit_time
)
select
    part,
    list_sum(list(unit_s / 3600 * usd_per_unit_hour order by resource)) as usd,
    list_sum(list(unit_s * idle_w_per_unit + working_s * (peak_w_per_unit - idle_w_per_unit) order by resource)) as joules
from parts
join rates using (resource)
group by part
order by part
