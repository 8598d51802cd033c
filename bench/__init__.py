"""Measures the sidecar beside what users would pick instead, in one run: `python -m bench`."""
