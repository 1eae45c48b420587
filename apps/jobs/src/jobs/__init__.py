"""Webhooks: what happens is published to other systems' addresses, by workers of a job queue."""
