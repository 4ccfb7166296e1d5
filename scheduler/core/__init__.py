"""Every decision, pure: no I/O, no clock, no environment, and nothing else of ours."""
