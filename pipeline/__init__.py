"""What is decided: the pure core, without a clock, randomness or I/O."""
