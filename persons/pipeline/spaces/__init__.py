"""Long work on a space: snapshots, restores, truncation, and the jobs that run them."""
