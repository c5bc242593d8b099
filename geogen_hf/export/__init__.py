"""The folder that is the Hub repository: Parquet, card, split manifest, checksums."""
