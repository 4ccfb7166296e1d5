-- One row per application and function; run times over all of its invocations.
SELECT
    n.function, n.name, n.app, NULL::VARCHAR AS owner, NULL::VARCHAR AS region, NULL::VARCHAR AS runtime,
    NULL::VARCHAR AS trigger, NULL::VARCHAR AS triggers, NULL::BIGINT AS cpu_milli, NULL::BIGINT AS request_milli,
    NULL::BIGINT AS limit_mib, NULL::DOUBLE AS memory_mib, round(avg(c.duration_us))::BIGINT AS duration_us,
    max(c.duration_us) AS max_duration_us, NULL::VARCHAR AS pool, NULL::INTEGER AS concurrency
FROM numbered AS n
JOIN _calls AS c USING (app, name)
GROUP BY ALL
ORDER BY n.function
