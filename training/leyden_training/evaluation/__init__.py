"""How close a few-step student is to its many-step teacher, and how far both are from the data."""
