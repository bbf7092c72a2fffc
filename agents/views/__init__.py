"""The views: what readers ask for, in Redis, kept by a projector that follows Kafka. Nothing of it decides anything."""
