"""Kafka: transport and administration; nothing of the domain."""
