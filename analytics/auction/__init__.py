"""Auctions on files: rounds read from markets, clusters, traces and the published instance, run and scored."""
