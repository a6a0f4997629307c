"""What crosses a process boundary in the background: Kafka, the worker, the local stack."""
