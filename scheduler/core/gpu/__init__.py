"""GPU jobs: where their flows run. Flow placement is after C4P (arXiv 2406.04594) and Ethereal (arXiv 2407.00550)."""
