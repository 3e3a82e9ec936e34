//! stx-pipeline
