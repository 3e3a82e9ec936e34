//! stx-retention
