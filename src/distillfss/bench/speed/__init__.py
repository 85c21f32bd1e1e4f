"""What teacher and student cost: latency, memory, parameters, multiply-adds; the backbone alone is the floor."""
