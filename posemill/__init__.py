"""The contract between producer and workers: records, keys, settings, storage, ledger and the Celery app."""

__version__ = "0.1.0"
