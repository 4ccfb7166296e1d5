"""Replay engine, DuckDB store, metrics and studies over canonical traces."""

from analytics.compiled import use_own_cache

use_own_cache()
