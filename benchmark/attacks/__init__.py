"""How a compromised client plants the backdoor, one file each."""
