"""`python -m agents.cli` is `rekindle`."""

from agents.cli import main

main(prog_name="rekindle")
