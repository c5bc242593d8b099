"""The metadata part: JSON in any plausible schema to cameras as stored, and to canonical ones."""
