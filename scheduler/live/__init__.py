"""The edges to a live cluster."""
