-- One row per function that any table mentions. Run times: daily means weighted by the executions they were taken over;
-- memory: means weighted by samples, that of an application split evenly over its functions.
WITH days_by_trigger AS (
    SELECT owner, app, name, trigger, count(*) AS days
    FROM _invocations
    WHERE trigger IS NOT NULL
    GROUP BY ALL
),

called AS (
    SELECT
        owner, app, name,
        first(trigger ORDER BY days DESC, trigger) AS trigger,
        string_agg(trigger, '|' ORDER BY trigger) AS triggers
    FROM days_by_trigger
    GROUP BY ALL
),

timed AS (
    SELECT
        owner, app, name,
        CASE WHEN sum(calls) > 0 THEN sum(average * calls) / sum(calls) ELSE avg(average) END AS average,
        max(maximum) AS maximum
    FROM _durations
    GROUP BY ALL
),

measured AS (
    SELECT
        owner, app, name,
        CASE WHEN sum(samples) > 0 THEN sum(mib * samples) / sum(samples) ELSE avg(mib) END AS mib
    FROM _memory
    GROUP BY ALL
),

sizes AS (
    SELECT owner, app, count(*) AS functions
    FROM numbered
    GROUP BY ALL
)

SELECT
    n.function, n.name, n.app, n.owner, NULL::VARCHAR AS region, NULL::VARCHAR AS runtime, called.trigger,
    called.triggers, NULL::BIGINT AS cpu_milli, NULL::BIGINT AS request_milli,
    NULL::BIGINT AS limit_mib,
    round(coalesce(own.mib, shared.mib / sizes.functions), 6) AS memory_mib,
    round(timed.average * 1000)::BIGINT AS duration_us, round(timed.maximum * 1000)::BIGINT AS max_duration_us,
    NULL::VARCHAR AS pool, NULL::INTEGER AS concurrency
FROM numbered AS n
LEFT JOIN called USING (owner, app, name)
LEFT JOIN timed USING (owner, app, name)
LEFT JOIN measured AS own ON (own.owner, own.app, own.name) = (n.owner, n.app, n.name)
LEFT JOIN measured AS shared ON (shared.owner, shared.app) = (n.owner, n.app) AND shared.name IS NULL
LEFT JOIN sizes ON (sizes.owner, sizes.app) = (n.owner, n.app)
ORDER BY n.function
