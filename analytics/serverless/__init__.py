"""Replays of serverless functions: which calls find a loaded pod, and what it costs to keep pods loaded."""
