"""What records say, in numbers; reads records and what studies left, runs nothing."""
