"""FedBackdoor: a tracked benchmark of backdoor attacks and defenses in federated learning."""

__version__ = "0.1.0"
