-- Grain: one row per decision about the pod $pod of $namespace, the newest $most (UTC).
SELECT make_timestamp(time_us) AS time_utc, kind, verdict, reason, plan, node, message AS why
FROM journal
WHERE namespace = $namespace AND pod = $pod AND kind IN ('pod', 'step', 'action', 'bid')
ORDER BY time_us DESC, kind
LIMIT $most
