-- Schema of the usage export.
--
-- Customers with an annual contract can have their usage written to a
-- PostgreSQL database of theirs, once a day at 04:40 UTC. The export creates
-- the schema by itself; it is printed here so that reports can be written
-- before the first night. Amounts are in millionths of a euro, so that sums
-- of many small hours come out exactly.

CREATE SCHEMA IF NOT EXISTS nbf_usage;

-- One row for each resource that was ever billed. Rows are never removed.
CREATE TABLE nbf_usage.resource (
    resource_id  text PRIMARY KEY,              -- such as vm-19f0c7
    kind         text NOT NULL,                 -- machine, volume, bucket, cluster, address, vpn
    project      text NOT NULL,
    region       text NOT NULL CHECK (region IN ('nor-1', 'alp-1', 'med-1')),
    created_at   timestamptz NOT NULL,
    deleted_at   timestamptz                    -- NULL while it exists
);

-- One row for each resource and hour. Kept for 18 months by the export, which
-- drops older partitions; copy them first if you need them for longer.
CREATE TABLE nbf_usage.hour (
    resource_id  text NOT NULL REFERENCES nbf_usage.resource,
    hour         timestamptz NOT NULL,          -- its beginning, UTC
    quantity     numeric(18, 6) NOT NULL,       -- GiB, or 1 for a machine
    price_micro  bigint NOT NULL,               -- before discounts
    capped       boolean NOT NULL DEFAULT false,-- true once the monthly cap is reached
    PRIMARY KEY (resource_id, hour)
) PARTITION BY RANGE (hour);

-- Tags as they were in that hour. A tag set later does not appear in earlier
-- rows.
CREATE TABLE nbf_usage.tag (
    resource_id  text NOT NULL,
    hour         timestamptz NOT NULL,
    key          text NOT NULL,
    value        text NOT NULL,
    PRIMARY KEY (resource_id, hour, key)
);

-- Corrections. The export never changes a row of nbf_usage.hour that is older
-- than 3 days; what is found later is booked here with its reason.
CREATE TABLE nbf_usage.correction (
    correction_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    resource_id   text NOT NULL,
    month         date NOT NULL,
    amount_micro  bigint NOT NULL,              -- negative: in your favour
    reason        text NOT NULL                 -- METER, PRICE, CREDIT or DUPLICATE
);

-- What one cost centre used in a month, the query that is asked for most.
CREATE VIEW nbf_usage.by_cost_centre AS
SELECT date_trunc('month', h.hour) AS month,
       coalesce(t.value, 'untagged') AS cost_centre,
       sum(h.price_micro) / 1000000.0 AS euro
FROM nbf_usage.hour h
LEFT JOIN nbf_usage.tag t ON t.resource_id = h.resource_id AND t.hour = h.hour AND t.key = 'cost'
GROUP BY 1, 2;

-- The export logs in with this role and needs nothing else.
CREATE ROLE nbf_export LOGIN;
GRANT USAGE, CREATE ON SCHEMA nbf_usage TO nbf_export;
