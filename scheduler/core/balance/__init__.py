"""Balancing what already runs: the model, its solvers, and what moving work costs."""
