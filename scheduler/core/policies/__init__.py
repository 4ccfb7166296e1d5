"""Scoring policies: one file each."""
