"""Tuning with Optuna: the strongest attacker against a given defense."""
