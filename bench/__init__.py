"""Performance: the engines beside each other, and what a federation costs around them."""
