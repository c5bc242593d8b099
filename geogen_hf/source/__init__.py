"""The eight zips, local or remote: download, list and read members."""
