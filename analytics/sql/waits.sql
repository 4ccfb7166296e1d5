-- One row per tier (and "all") and waiting time in microseconds: how many attempts started after exactly that long,
-- and how many were given up or cut off by the window's end while waiting. Attempts that were running at the window's
-- start are left out.
with by_tier as (
    select tier, waited_us, count(*) filter (is_placed) as started, count(*) filter (not is_placed) as unstarted
    from attempts
    where not initial
    group by tier, waited_us
),
together as (
    select 'all' as tier, waited_us, sum(started)::bigint as started, sum(unstarted)::bigint as unstarted
    from by_tier
    group by waited_us
)
select * from by_tier where tier <> 'all'
union all
select * from together
