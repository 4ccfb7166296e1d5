"""GPU jobs: who holds one up, and where its flows run.

Diagnosis is after C4D, flow placement after C4P (both arXiv 2406.04594) and Ethereal (arXiv 2407.00550).
"""
