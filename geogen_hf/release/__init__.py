"""Subjects of a release: joined, proven, divided into splits, as rows."""
