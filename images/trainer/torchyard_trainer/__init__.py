"""What runs in a worker pod: supervisor, tasks, training loop, checkpoints, export."""
