"""Documents: what a page or a table is made of, and how it is shown."""
