"""Cells, their records, and suites of them."""
