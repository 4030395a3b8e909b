"""The command line: a module for each verb, so that each imports only its own."""
