"""Optuna: trials of a problem, kept so that nothing is lost, run by one process or by many."""
