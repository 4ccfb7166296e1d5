-- Grain: one row per tenant, those with most attempts first, at most $most: tenants.parquet as it is.
SELECT * FROM tenants ORDER BY attempts DESC, tenant LIMIT $most
