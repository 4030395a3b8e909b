"""Federated training in rounds under attack and defense."""
