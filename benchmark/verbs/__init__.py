"""What the verbs of the command line do: a module each, so that each imports only its own."""

STANDALONE = "runs"
"""Folder under the results for federations that belong to no suite."""
