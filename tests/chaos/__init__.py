"""Faults on purpose: a proxy that spoils S3's answers, and `python -m tests.chaos`, the queue's proof."""
