"""The planner: watches waiting pods, solves, writes Plan resources, and carries them out through the Eviction API."""
