-- What became of the attempts: one row per tier and for "all"; counts.
-- never_placed: no start inside the window, cancelled ones included. evictions: machine lost under it.
select
    case grouping(tier) when 1 then 'all' else tier end as tier,
    count(*) as attempts,
    count(*) filter (initial) as initial,
    count(*) filter (is_placed) as started,
    count(*) filter (not is_placed) as never_placed,
    count(*) filter ("end" = 'CANCELLED') as cancelled,
    coalesce(sum(evictions), 0)::bigint as evictions,
    coalesce(sum(preemptions), 0)::bigint as preemptions
from attempts
group by grouping sets ((tier), ())
having grouping(tier) = 1 or tier <> 'all'
order by tier
