"""What runs: Kafka, Faust, metrics and the command line; the only I/O."""
