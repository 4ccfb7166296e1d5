-- Countable outcomes for the job bootstrap: one row per job; counts of attempts.
select
    job,
    count(*) filter (is_placed) as started,
    count(*) filter (not is_placed) as never_placed,
    coalesce(sum(evictions), 0)::bigint as evictions,
    coalesce(sum(preemptions), 0)::bigint as preemptions
from attempts
group by job
order by job
