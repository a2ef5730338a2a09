"""Streams between switches, NATS JetStream and Kafka: what is in a message, and how to reach the servers.

An edge publishes what it captured (`databases`), storing nodes consume it (`sources`). Not here: either of them.
"""
