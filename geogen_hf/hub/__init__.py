"""Publish an exported folder, or the original zips, on the Hugging Face Hub."""
