"""What a command does: pure decisions, and the one impure file that applies them."""
