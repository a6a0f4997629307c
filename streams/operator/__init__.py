"""What operators do by hand: treasury commands, dead letters, halted partitions, lost events."""
