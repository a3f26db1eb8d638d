"""One file for each measurement; `measure` runs it."""
