"""What the adversary wants: these inputs, that label."""
