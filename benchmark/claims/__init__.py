"""Claims as data, and what runs say of them."""
