-- Tickets of the ferry.

BEGIN;

-- Who bought what.
CREATE TABLE IF NOT EXISTS tickets (
    id BIGINT PRIMARY KEY,
    line TEXT NOT NULL,
    price NUMERIC(6, 2) NOT NULL
);

CREATE INDEX tickets_line ON tickets (line);

INSERT INTO tickets (id, line, price) VALUES
    (1, 'north', 3.50),
    (2, 'south', 2.00);

CREATE VIEW public.totals AS
SELECT line, sum(price) AS total
FROM tickets
WHERE price > 0
GROUP BY line;

CREATE FUNCTION fare(zone INT) RETURNS INT AS $$
BEGIN
    RETURN zone * 2;
END;
$$ LANGUAGE plpgsql;

COMMIT;
