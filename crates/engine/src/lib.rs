//! Partitions: owns ledger, lexical and vector; write path, recovery, background stages.
