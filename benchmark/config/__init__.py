"""From ``conf/`` and overrides to a checked configuration."""
