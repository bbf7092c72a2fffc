"""The demo: a real purchase history, played through a real Kafka and two workers in this terminal."""
