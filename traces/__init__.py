"""Readers of public cluster traces, all giving the same documented tables. Imports nothing else of ours."""
