-- What each tenant asked for and got: one row per tenant, in name order.
-- mean_delay_s: attempts submitted and started in the window. mean_slowdown: of those that also ended, (waiting +
-- running) / running, with running taken as at least $short_us microseconds so that short tasks do not decide it.
-- dominant_share: largest over resources of held resource-time / the cluster's; served_share: of that resource, held /
-- (held + waited for). kept_share: of it without what ran for nothing, kept / (held + waited for). Held, kept and waited
-- count inside the window only; NULL if the tenant asked for nothing.
with served as (
    select
        coalesce(attempts.tenant, '') as tenant,
        attempts.*exclude (tenant),
        case when initial then 0
            else greatest(coalesce(start_us, least(attempts.end_us, run_window.closes_us), run_window.closes_us)
                - greatest(submit_us, run_window.opens_us), 0)
        end as queued_us
    from attempts
    cross join run_window
),
totals as (
    select
        tenant,
        count(*) as attempts,
        count(*) filter (is_placed) as started,
        count(*) filter (not is_placed) as never_placed,
        sum(waited_us) filter (is_placed and not initial)
            / count(*) filter (is_placed and not initial) / 1e6 as mean_delay_s,
        -- millionths, summed as integers
        sum(round(1e6 * (1 + waited_us / greatest(end_us - start_us, $short_us)))::bigint)
            filter (is_placed and not initial and end_us is not null)
            / count(*) filter (is_placed and not initial and end_us is not null) / 1e6 as mean_slowdown,
        sum(cpu_milli::hugeint * ran_us) as held_cpu_milli,
        sum(memory_mib::hugeint * ran_us) as held_memory_mib,
        sum(disk_mib::hugeint * ran_us) as held_disk_mib,
        sum(gpu_milli::hugeint * ran_us) as held_gpu_milli,
        sum(cpu_milli::hugeint * kept_us) as kept_cpu_milli,
        sum(cpu_milli::hugeint * queued_us) as queued_cpu_milli,
        sum(memory_mib::hugeint * kept_us) as kept_memory_mib,
        sum(memory_mib::hugeint * queued_us) as queued_memory_mib,
        sum(disk_mib::hugeint * kept_us) as kept_disk_mib,
        sum(disk_mib::hugeint * queued_us) as queued_disk_mib,
        sum(gpu_milli::hugeint * kept_us) as kept_gpu_milli,
        sum(gpu_milli::hugeint * queued_us) as queued_gpu_milli
    from served
    group by tenant
),
by_resource as (
    select tenant, 'cpu_milli' as resource, held_cpu_milli as held, kept_cpu_milli as kept, queued_cpu_milli as queued
    from totals
    union all
    select tenant, 'memory_mib', held_memory_mib, kept_memory_mib, queued_memory_mib from totals
    union all
    select tenant, 'disk_mib', held_disk_mib, kept_disk_mib, queued_disk_mib from totals
    union all
    select tenant, 'gpu_milli', held_gpu_milli, kept_gpu_milli, queued_gpu_milli from totals
),
cluster as (
    select resource, sum(capacity::hugeint * width_us) as offered
    from capacity
    group by resource
    having offered > 0
),
shares as (
    select
        tenant,
        resource,
        held / offered as share,
        (held + queued) / offered as wanted,
        held / nullif(held + queued, 0) as served,
        kept / nullif(held + queued, 0) as kept
    from by_resource
    join cluster using (resource)
),
ranked as (
    select *, row_number() over (partition by tenant order by wanted desc, resource) as rank
    from shares
)
select
    totals.tenant,
    totals.attempts,
    totals.started,
    totals.never_placed,
    totals.mean_delay_s,
    totals.mean_slowdown,
    ranked.resource as dominant_resource,
    ranked.share as dominant_share,
    ranked.served as served_share,
    ranked.kept as kept_share
from totals
left join ranked on ranked.tenant = totals.tenant and ranked.rank = 1 and ranked.wanted > 0
order by totals.tenant
