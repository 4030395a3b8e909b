"""The paper's experiments at a scale of one's choice, and what they say of its claims."""
