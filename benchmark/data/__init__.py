"""Handwriting of real people, partitioned into users and resident in memory."""
