-- Overload for the time bootstrap: one row per block of $block_us microseconds.
-- intervals: nodes x intervals overloaded. excess_us: overload (see runs.py) x its width. nodes_us, overloaded_us: nodes,
-- and those overloaded, x width. An interval of no width, where the window ends, counts nothing.
with widths as (
    select *, lead(time_us, 1, run_window.closes_us) over (order by time_us) - time_us as width_us,
        (time_us - run_window.opens_us) // $block_us as block
    from series
    cross join run_window
)
select
    block,
    sum(overloaded_nodes)::double as intervals,
    sum(overload * width_us)::double as excess_us,
    sum(overloaded_nodes * width_us)::double as overloaded_us,
    sum(nodes * width_us)::double as nodes_us,
    sum(width_us)::double as width_us
from widths
where width_us > 0
group by block
order by block
