"""The tables of a journal, and the views for people with `sqlite3` in hand.

Four tables, all STRICT. `records` is the journal; the others are what is needed to open it quickly and to ask
it for results. What can be derived from the records (orders, fills, settlements, markets, claims) is not
stored a second time: it is a view, which cannot disagree with them. Two partial indexes keep the views quick:
they hold the few types of records that the views read, by order and in order, and none of the book events
that make up most of a journal.

A change of anything in here is a new FORMAT.
"""

from __future__ import annotations

from typing import Final

import apsw

APPLICATION_ID: Final = 0x54424A4C
"""Tells `file` and us that a database is a journal ("TBJL")."""

FORMAT: Final = 1
"""PRAGMA user_version."""

PRUNED_FORMAT: Final = 2
"""The same of a journal whose oldest runs were dropped: the same tables, and a report that says where it
begins. A version that knows nothing of that must not take it for damaged."""

PRUNED_REPORT: Final = ("pruned", "journal")
"""Kind and key of that report."""

_ORDER_TYPES: Final = (
    "PlaceOrder",
    "CancelOrder",
    "OrderAccepted",
    "OrderRejected",
    "OrderCancelled",
    "OrderExpired",
    "OrderFilled",
    "SubmitUnknown",
    "CancelUnknown",
    "SettlementUpdated",
)
_RARE_TYPES: Final = (
    "RunHeader",
    "MarketOpened",
    "MarketClosed",
    "MarketResolved",
    "Claimed",
    "PositionsRead",
)


def _any_of(types: tuple[str, ...], table: str = "") -> str:
    """As alternatives, because SQLite sees only in these that one type of them is enough for the index."""
    return " OR ".join(f"{table}type = '{name}'" for name in types)


_TABLES: Final = f"""
CREATE TABLE journal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    wallet TEXT NOT NULL,
    chain_id INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,      -- as of the last flush: an end that was cut off is missed
    last_chain BLOB NOT NULL,
    checkpoint_seq INTEGER NOT NULL -- 0: none
) STRICT;

CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    kind TEXT NOT NULL,             -- R run header, E event, C command
    type TEXT NOT NULL,
    ts INTEGER NOT NULL,            -- nanoseconds since the Unix epoch
    body TEXT NOT NULL,             -- canonical JSON
    chain BLOB NOT NULL             -- BLAKE2b over the chain before and the other columns
) STRICT;

CREATE TABLE checkpoints (
    run INTEGER PRIMARY KEY,        -- the latest one of each run
    seq INTEGER NOT NULL,           -- the last record it covers
    body BLOB NOT NULL,
    chain BLOB NOT NULL
) STRICT;

CREATE TABLE reports (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    ts INTEGER NOT NULL,
    body TEXT NOT NULL,
    chain BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX records_by_order ON records (body ->> '$.order_id') WHERE {_any_of(_ORDER_TYPES)};

CREATE INDEX records_by_type ON records (type, seq) WHERE {_any_of(_ORDER_TYPES + _RARE_TYPES)};
"""

_VIEWS: Final = f"""
CREATE VIEW runs AS
SELECT
    run,
    seq AS first_seq,
    ts AS started_ts,
    body ->> '$.mode' AS mode,
    body ->> '$.version' AS version,
    body ->> '$.source' AS source
FROM records
WHERE type = 'RunHeader';

CREATE VIEW settlements AS
SELECT
    seq,
    run,
    ts,
    body ->> '$.order_id' AS order_id,
    body ->> '$.fill_id' AS fill_id,
    body ->> '$.status' AS status
FROM records
WHERE type = 'SettlementUpdated';

-- A fill that was told twice is in here once.
CREATE VIEW fills AS
SELECT
    fill.seq,
    fill.run,
    fill.ts,
    fill.order_id,
    fill.fill_id,
    placed.body ->> '$.terms.market_id' AS market_id,
    CASE placed.body ->> '$.terms.outcome' WHEN 0 THEN 'YES' WHEN 1 THEN 'NO' END AS outcome,
    CASE placed.body ->> '$.terms.side' WHEN 0 THEN 'BUY' WHEN 1 THEN 'SELL' END AS side,
    fill.body ->> '$.price' AS price_micros,
    fill.body ->> '$.qty' AS qty_micros,
    fill.body ->> '$.fee' AS fee_micros,
    fill.body ->> '$.liquidity' AS liquidity,
    coalesce((
        SELECT ended.body ->> '$.status'
        FROM records AS ended
        WHERE ended.type = 'SettlementUpdated'
            AND ended.body ->> '$.order_id' = fill.order_id
            AND ended.body ->> '$.fill_id' = fill.fill_id
        ORDER BY ended.seq DESC
        LIMIT 1
    ), 'pending') AS settlement
FROM (
    SELECT
        min(seq) AS seq,
        run,
        ts,
        body,
        body ->> '$.order_id' AS order_id,
        body ->> '$.fill_id' AS fill_id
    FROM records
    WHERE type = 'OrderFilled'
    GROUP BY body ->> '$.order_id', body ->> '$.fill_id'
) AS fill
LEFT JOIN records AS placed
    ON placed.type = 'PlaceOrder' AND placed.body ->> '$.order_id' = fill.order_id;

-- The state is what the reports about the order say; lists of open orders are not looked at.
CREATE VIEW orders AS
SELECT
    *,
    CASE
        WHEN filled_micros >= qty_micros THEN 'filled'
        WHEN cancelled_ts IS NOT NULL THEN 'cancelled'
        WHEN expired_ts IS NOT NULL THEN 'expired'
        WHEN rejected_ts IS NOT NULL AND accepted_ts IS NULL AND filled_micros = 0 THEN 'rejected'
        WHEN rejected_ts IS NOT NULL OR unknown_ts > coalesce(accepted_ts, 0) THEN 'unknown'
        WHEN filled_micros > 0 THEN 'partial'
        WHEN accepted_ts IS NOT NULL THEN 'working'
        ELSE 'sent'
    END AS state
FROM (
    SELECT
        placed.seq,
        placed.run,
        placed.body ->> '$.order_id' AS order_id,
        placed.body ->> '$.terms.market_id' AS market_id,
        CASE placed.body ->> '$.terms.outcome' WHEN 0 THEN 'YES' WHEN 1 THEN 'NO' END AS outcome,
        CASE placed.body ->> '$.terms.side' WHEN 0 THEN 'BUY' WHEN 1 THEN 'SELL' END AS side,
        placed.body ->> '$.terms.price' AS price_micros,
        placed.body ->> '$.terms.qty' AS qty_micros,
        (
            SELECT coalesce(sum(qty), 0)
            FROM (
                SELECT DISTINCT body ->> '$.fill_id' AS fill_id, body ->> '$.qty' AS qty
                FROM records
                WHERE type = 'OrderFilled' AND body ->> '$.order_id' = placed.body ->> '$.order_id'
            )
        ) AS filled_micros,
        placed.ts AS sent_ts,
        min(CASE told.type WHEN 'OrderAccepted' THEN told.ts END) AS accepted_ts,
        min(CASE told.type WHEN 'CancelOrder' THEN told.ts END) AS cancel_asked_ts,
        min(CASE told.type WHEN 'OrderCancelled' THEN told.ts END) AS cancelled_ts,
        min(CASE told.type WHEN 'OrderExpired' THEN told.ts END) AS expired_ts,
        min(CASE told.type WHEN 'OrderRejected' THEN told.ts END) AS rejected_ts,
        max(CASE WHEN told.type IN ('SubmitUnknown', 'CancelUnknown') THEN told.ts END) AS unknown_ts,
        (placed.body ->> '$.terms.expires_s') * 1000000000 AS expires_ts
    FROM records AS placed
    JOIN records AS told
        ON told.body ->> '$.order_id' = placed.body ->> '$.order_id' AND ({_any_of(_ORDER_TYPES, "told.")})
    WHERE placed.type = 'PlaceOrder'
    GROUP BY placed.seq, placed.body ->> '$.order_id'
);

CREATE VIEW claims AS
SELECT
    seq,
    run,
    ts,
    body ->> '$.market_id' AS market_id,
    body ->> '$.payout' AS payout_micros
FROM records
WHERE type = 'Claimed';

-- claimable_micros: winning tokens that the exchange listed as ours when it was last asked for positions.
CREATE VIEW markets AS
WITH
opened AS (
    SELECT min(seq) AS seq, run, body ->> '$.market.market_id' AS market_id, body
    FROM records
    WHERE type = 'MarketOpened'
    GROUP BY body ->> '$.market.market_id'
),
resolved AS (
    SELECT max(seq) AS seq, ts, body ->> '$.market_id' AS market_id, body ->> '$.winner' AS winner
    FROM records
    WHERE type = 'MarketResolved'
    GROUP BY body ->> '$.market_id'
),
claimed AS (
    SELECT market_id, max(seq) AS seq, max(ts) AS ts, sum(payout_micros) AS payout_micros
    FROM claims
    GROUP BY market_id
),
held AS (
    SELECT
        positions.seq,
        holding.value ->> '$.market_id' AS market_id,
        holding.value ->> '$.yes' AS yes_micros,
        holding.value ->> '$.no' AS no_micros
    FROM (
        SELECT max(seq) AS seq, body FROM records WHERE type = 'PositionsRead'
    ) AS positions, json_each(positions.body, '$.holdings') AS holding
)
SELECT
    opened.seq,
    opened.run,
    opened.market_id,
    opened.body ->> '$.market.asset' AS asset,
    opened.body ->> '$.market.open_ts' AS open_ts,
    opened.body ->> '$.market.close_ts' AS close_ts,
    opened.body ->> '$.market.strike_micros' AS strike_micros,
    CASE resolved.winner WHEN 0 THEN 'YES' WHEN 1 THEN 'NO' END AS winner,
    resolved.ts AS resolved_ts,
    coalesce(claimed.payout_micros, 0) AS claimed_micros,
    claimed.ts AS claimed_ts,
    CASE
        WHEN resolved.winner IS NULL OR claimed.seq > held.seq THEN 0
        WHEN resolved.winner = 0 THEN coalesce(held.yes_micros, 0)
        ELSE coalesce(held.no_micros, 0)
    END AS claimable_micros
FROM opened
LEFT JOIN resolved ON resolved.market_id = opened.market_id
LEFT JOIN claimed ON claimed.market_id = opened.market_id
LEFT JOIN held ON held.market_id = opened.market_id;
"""  # noqa: S608 - the only thing put in are names of ours

VIEWS: Final = ("runs", "orders", "fills", "settlements", "markets", "claims")

INSERT_RECORD: Final = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)"
MOVE_TIP: Final = "UPDATE journal SET last_seq = ?, last_chain = ?, checkpoint_seq = ?"
PUT_CHECKPOINT: Final = "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?)"
PUT_REPORT: Final = "INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?, ?)"


RUN_HEADS: Final = "SELECT run, seq FROM records WHERE type = 'RunHeader' ORDER BY seq"
DROP_RECORDS: Final = "DELETE FROM records WHERE seq <= ?"
DROP_CHECKPOINTS: Final = "DELETE FROM checkpoints WHERE seq <= ?"


def create(connection: apsw.Connection) -> None:
    """Make the tables, indexes and views in an empty database. The caller's transaction makes it one step."""
    connection.execute(_TABLES + _VIEWS)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", FORMAT)


def objects(connection: apsw.Connection) -> dict[str, str]:
    """Every table, index and view of a database by name, with the text it was made with."""
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    return {str(name): str(text) for name, text in rows}


def expected_objects() -> dict[str, str]:
    """What `objects` finds in a journal that is whole. People may add views of their own."""
    memory = apsw.Connection(":memory:")
    create(memory)
    return objects(memory)
