-- Lending of ECG and blood-pressure recorders: tables and the lists made from
-- them. Runs on the cardiology server; the desk sees the lists as web pages.

CREATE TABLE recorder (
    number        text PRIMARY KEY CHECK (number ~ '^(HR|BP)-[0-9]{2}$'),
    bought_on     date NOT NULL,
    checked_on    date NOT NULL,        -- safety check, every 24 months
    state         text NOT NULL DEFAULT 'ready'
                  CHECK (state IN ('ready', 'lent', 'cleaning', 'defect', 'retired'))
);

CREATE TABLE loan (
    loan_id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number        text NOT NULL REFERENCES recorder,
    patient_no    text NOT NULL,        -- never the name
    fitted_at     timestamp NOT NULL,
    due_at        timestamp NOT NULL,
    returned_at   timestamp,
    usable_share  numeric(4, 3) CHECK (usable_share BETWEEN 0 AND 1),
    fitted_by     text NOT NULL         -- initials
);

-- A recorder is lent to one patient at a time.
CREATE UNIQUE INDEX one_open_loan ON loan (number) WHERE returned_at IS NULL;

-- Returned late. The list hangs at desk 4 at 12:00; two late returns within
-- 12 months put the note LATE-2 on the patient, and the third recorder is
-- handed out only by the lead nurse.
CREATE VIEW late_today AS
SELECT number, patient_no, due_at, now() - due_at AS late_by
FROM loan
WHERE returned_at IS NULL AND due_at < now()
ORDER BY due_at;

-- Recorders whose safety check is due within 45 days. The technical service
-- collects them on the last Tuesday of the month.
CREATE VIEW check_due AS
SELECT number, checked_on + interval '24 months' AS due_on
FROM recorder
WHERE state <> 'retired' AND checked_on + interval '24 months' < now() + interval '45 days';

-- A recorder is retired after 900 loans or 7 years, whichever comes first.
CREATE VIEW retire_soon AS
SELECT r.number, count(l.loan_id) AS loans, r.bought_on
FROM recorder r LEFT JOIN loan l USING (number)
GROUP BY r.number, r.bought_on
HAVING count(l.loan_id) > 850 OR r.bought_on < current_date - interval '82 months';

-- Patient numbers are taken out 13 months after the return; the loan itself
-- stays for the count above.
CREATE PROCEDURE forget_patients() LANGUAGE sql AS $$
    UPDATE loan SET patient_no = 'forgotten'
    WHERE returned_at < now() - interval '13 months' AND patient_no <> 'forgotten';
$$;
