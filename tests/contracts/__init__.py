"""What every attack, defense, task and participation keeps to, whoever writes it.

They are found by their yaml files and built as the command line builds them: a new one is tested
without a change here.
"""
