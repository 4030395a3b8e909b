"""What the server does with the updates, one file each."""
