"""What the server counts, and the page that shows it. Knows the house, no gRPC, Ray or torch."""
