-- Grain: one row per reason with its numbers left out, the $most commonest: pods whose last word it is, and one of them.
WITH told AS (
    SELECT
        namespace || '/' || pod AS pod,
        arg_max(verdict, time_us) AS verdict,
        arg_max(message, time_us) AS why
    FROM journal
    WHERE kind = 'pod'
    GROUP BY namespace, pod
)
SELECT verdict, regexp_replace(why, '[0-9][0-9.,]*', 'N', 'g') AS reason, count(*) AS pods, min(pod) AS example
FROM told
WHERE verdict IN ('impossible', 'undecided', 'failed')
GROUP BY ALL
ORDER BY pods DESC, reason
LIMIT $most
