-- One row per data set and function; the release says nothing about them but their number.
SELECT
    function, name, NULL::VARCHAR AS app, NULL::VARCHAR AS owner, region, NULL::VARCHAR AS runtime,
    NULL::VARCHAR AS trigger, NULL::VARCHAR AS triggers, NULL::BIGINT AS cpu_milli, NULL::BIGINT AS request_milli,
    NULL::BIGINT AS limit_mib, NULL::DOUBLE AS memory_mib, NULL::BIGINT AS duration_us,
    NULL::BIGINT AS max_duration_us, NULL::VARCHAR AS pool, NULL::INTEGER AS concurrency
FROM numbered
ORDER BY function
