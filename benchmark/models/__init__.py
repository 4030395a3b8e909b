"""Models that the benchmark trains."""
