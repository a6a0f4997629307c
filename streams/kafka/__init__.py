"""The one door to Kafka: safe settings, producers, the group's consumer, topics.

No module outside of this folder imports the client library.
"""
