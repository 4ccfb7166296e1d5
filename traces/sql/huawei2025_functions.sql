-- One row per region and funcID that any table mentions. Limits are in the pool's name; run times and memory are means
-- over single calls, where these were given.
WITH named AS (
    SELECT function, region, name, string_split(name, '---') AS parts, string_split(parts[3], '-') AS pool_parts
    FROM numbered
),

sized AS (
    SELECT
        function, region, name, parts[2] AS owner, parts[3] AS pool,
        TRY_CAST(pool_parts[2] AS BIGINT) AS cpu_milli, TRY_CAST(pool_parts[3] AS BIGINT) AS limit_mib
    FROM named
),

kinds AS (
    SELECT
        region, name, request_milli, runtime, coalesce(triggers, 'unknown') AS published,
        string_split(published, ' ') AS listed
    FROM _kinds
),

grouped AS (
    SELECT
        region, name, request_milli, runtime, array_to_string(listed, '|') AS triggers,
        CASE
            WHEN list_contains(listed, 'TIMER-A') THEN 'TIMER-A'
            WHEN published IN ('APIG-S', 'OBS-A', 'workflow-S') THEN published
            WHEN published IN ('unknown', 'unknown-unknown', 'unknown-A unknown-S') THEN 'unknown'
            WHEN list_contains(listed, 'APIG-A') OR len(list_filter(listed, lambda t: t LIKE '%-S')) = 0 THEN 'other A'
            ELSE 'other S'
        END AS trigger
    FROM kinds
),

run AS (
    SELECT
        region, name, round(avg(duration_us))::BIGINT AS duration_us, max(duration_us) AS max_duration_us,
        round(avg(memory_mib), 6) AS memory_mib
    FROM _requests
    GROUP BY ALL
)

SELECT
    sized.function, sized.name, NULL::VARCHAR AS app, sized.owner, sized.region, grouped.runtime, grouped.trigger,
    grouped.triggers, sized.cpu_milli, coalesce(grouped.request_milli, asked.request_milli) AS request_milli,
    sized.limit_mib, run.memory_mib, run.duration_us, run.max_duration_us, sized.pool, NULL::INTEGER AS concurrency
FROM sized
LEFT JOIN grouped USING (region, name)
LEFT JOIN run USING (region, name)
LEFT JOIN asked USING (cpu_milli)
ORDER BY sized.function
