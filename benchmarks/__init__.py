"""What Rekindle costs, next to baselines that run in the same minute: `make bench`."""
