"""What an operator sees: structured logs that hold no token, phone number or message text, and the metrics.

Log our ids and closed sets of reasons only. An exception is logged by its type, SQLSTATE, constraint and the
places it passed, never by its text: PostgreSQL and JSON errors quote the value that failed. What looks like a token or
another secret of Meta's is cut out of every finished line, whoever wrote it: HTTP libraries log addresses at debug.
"""

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import IO, Any

import structlog
from prometheus_client import Counter, Gauge, Histogram

from whatrack.errors import WhatrackError

INTAKE_ANSWERS = Counter(
    "whatrack_intake_answers_total",
    "Webhook requests answered, by HTTP status and reason.",
    ["status", "reason"],
)
INTAKE_SECONDS = Histogram(
    "whatrack_intake_seconds",
    "Time from a webhook's first byte to its answer.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
DRAINED = Counter("whatrack_drain_deliveries_total", "Queue rows drained, by outcome.", ["outcome"])
MESSAGES = Counter("whatrack_drain_messages_total", "Messages drained, duplicates included.")
QUEUE_ROWS = Gauge("whatrack_queue_rows", "Deliveries waiting for the drain.")
QUEUE_LAG = Gauge("whatrack_queue_lag_seconds", "Age of the oldest delivery that waits for the drain.")
EXCEPTIONS = Gauge("whatrack_delivery_exceptions", "Deliveries set aside, by state.", ["state"])
PARTITION_DAYS = Gauge("whatrack_delivery_partition_days", "Days ahead for which delivery partitions exist.")
GRAPH_CALLS = Counter("whatrack_graph_calls_total", "Calls of Meta's Graph API, by outcome.", ["outcome"])
CONVERSIONS = Counter("whatrack_conversion_attempts_total", "Events sent to Meta, by outcome.", ["outcome"])
INSIGHT_DAYS = Counter(
    "whatrack_insight_days_total",
    "Account-days fetched, changed or not, and accounts not fetched, by reason",
    ["outcome"],
)
LOOP_FAILURES = Counter("whatrack_loop_failures_total", "Failed rounds of a background loop.", ["loop"])

Event = MutableMapping[str, Any]

_as_json = structlog.processors.JSONRenderer(ensure_ascii=False)
WITHHELD = "(secret withheld)"
_SECRETS = re.compile(
    r"EAA[0-9A-Za-z]{16,}"
    r"|(?<=Bearer )[^\s\"'\\,;]{8,}"
    r"|(?:(?<=access_token)|(?<=input_token)|(?<=exchange_token)|(?<=verify_token)|(?<=client_secret)|(?<=appsecret_proof))"
    r"(?P<sign>=|%3D|[\\\"']{1,3}: ?[\\\"']{1,2})(?:(?!%26)[^&\s\"'\\,;])+"
)


def configure_logging(level: str = "info", stream: IO[str] | None = None) -> None:
    """JSON lines on stderr for our own loggers and for every library's."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_exception,
        withhold_traceback,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                render_line,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn.access", "psycopg.pool", "asyncio"):
        # The access log would hold the verify token of the handshake's query; the pool logs connection strings.
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    # Alembic tells of every look at the schema; a command's stderr is for what went wrong.
    logging.getLogger("alembic").setLevel(logging.DEBUG if level == "debug" else logging.WARNING)


def name_exception(_logger: object, _method: str, event: Event) -> Event:
    """Replace exc_info by a description that cannot hold data."""
    info = event.pop("exc_info", None)
    if info:
        error = (
            info
            if isinstance(info, BaseException)
            else (info[1] if isinstance(info, tuple) else sys.exc_info()[1])
        )
        if error is not None:
            event["error"] = describe(error)
    return event


def withhold_traceback(_logger: object, _method: str, event: Event) -> Event:
    """Cut a traceback that a library wrote into its message (uvicorn does at a failed start): its last line may hold data."""
    said, mark, _ = str(event.get("event", "")).partition("Traceback (most recent call last)")
    if mark:
        event["event"] = f"{said}(traceback withheld)"
    return event


def render_line(logger: object, method: str, event: Event) -> str:
    """An event as JSON, without tokens, proofs and app secrets; the names of their parameters stay."""
    line = str(_as_json(logger, method, event))
    return _SECRETS.sub(lambda found: f"{found['sign'] or ''}{WITHHELD}", line)


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as facts without values: type, SQLSTATE, constraint, and the innermost places it passed."""
    facts: dict[str, Any] = {"type": f"{type(error).__module__}.{type(error).__qualname__}"}
    if sqlstate := getattr(error, "sqlstate", None):
        facts["sqlstate"] = sqlstate
        facts["constraint"] = getattr(getattr(error, "diag", None), "constraint_name", None)
    if isinstance(error, WhatrackError):
        facts["message"] = str(error)
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    facts["at"] = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        facts["cause"] = describe(cause)
    return facts


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """The structured logger of one module."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound
