"""The worker: commands from Kafka into the ledger, their events out, exactly once.

``takeover`` comes before anything is read, ``publish`` after all that is committed.
"""
