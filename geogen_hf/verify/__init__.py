"""Everything an exported folder promises, checked."""
