"""What travels: one module per kind of message, and every topic."""
