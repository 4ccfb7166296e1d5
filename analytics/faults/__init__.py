"""Replay of faults: what real or generated outages of servers cost the jobs that run on them."""
