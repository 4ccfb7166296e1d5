-- One row per attempt: placements with tier; times in microseconds.
-- waited_us: from submission to the start, or, if it never started, to its cancellation or the window's end.
-- ran_us: how long it ran inside the window, from its first start. kept_us: the same from its last start, which is what
-- its work went on from: what ran before, and a run that a recorded eviction ended, was for nothing.
select
    placements.*,
    tier_of.tier,
    placements.start_us is not null as is_placed,
    coalesce(placements.start_us, placements.end_us, run_window.closes_us) - placements.submit_us as waited_us,
    case
        when placements.start_us is null then 0
        else greatest(
            least(coalesce(placements.end_us, run_window.closes_us), run_window.closes_us)
            - greatest(placements.start_us, run_window.opens_us), 0)
    end as ran_us,
    case
        when placements.last_start_us is null or placements."end" = 'EVICT' then 0
        else greatest(
            least(coalesce(placements.end_us, run_window.closes_us), run_window.closes_us)
            - greatest(placements.last_start_us, run_window.opens_us), 0)
    end as kept_us
from placements
cross join run_window
join tier_of using (priority)
