"""Which models are wished for, as which Serve applications, and how all of it starts and stops."""
