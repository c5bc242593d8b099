"""`python -m geogen_hf.cli` is `geogen`."""

from geogen_hf.cli import main

main()
