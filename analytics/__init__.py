"""Replay engine, DuckDB store, metrics and studies over canonical traces."""
