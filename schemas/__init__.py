"""What travels: every message as a msgspec struct, every topic, and the codecs. Imports msgspec only."""
