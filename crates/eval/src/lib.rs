//! Datasets, metrics and reports.
