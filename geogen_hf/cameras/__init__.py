"""What a camera matrix is, and which convention it is in."""
