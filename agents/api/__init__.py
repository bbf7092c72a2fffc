"""The HTTP API: reads the views, decides nothing."""
