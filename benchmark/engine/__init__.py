"""Local training of a whole cohort."""
