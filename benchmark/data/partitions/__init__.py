"""Ways to divide images among users, one file each."""
