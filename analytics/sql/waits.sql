-- One row per tier (and "all") and waiting time in milliseconds, rounded to nearest: how many attempts started after
-- that long, and how many were given up or cut off by the window's end while waiting. Attempts that were running at the
-- window's start are left out. Milliseconds keep a month's waits few enough to be ranked in a second.
with by_tier as (
    select
        tier,
        (waited_us + 500) // 1000 as waited_ms,
        count(*) filter (is_placed) as started,
        count(*) filter (not is_placed) as unstarted
    from attempts
    where not initial
    group by tier, waited_ms
),
together as (
    select 'all' as tier, waited_ms, sum(started)::bigint as started, sum(unstarted)::bigint as unstarted
    from by_tier
    group by waited_ms
)
select * from by_tier where tier <> 'all'
union all
select * from together
