"""How a log line looks: time, level, sentence, then the ids it is about."""

import logging

FIELDS = ("run_id", "stage", "batch", "item_id")


class LineFormatter(logging.Formatter):
    """Appends the fields that a line carries as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """One line: time, level, message, then the run and batch that it is about."""
        line = super().format(record)
        fields = [f"{name}={getattr(record, name)}" for name in FIELDS if getattr(record, name, None) is not None]
        return f"{line}  [{' '.join(fields)}]" if fields else line


def set_up_logging(level: int = logging.INFO) -> None:
    """Send posemill's own lines, and warnings of everybody else, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("posemill", "producer", "workers"):
        logging.getLogger(name).setLevel(level)
