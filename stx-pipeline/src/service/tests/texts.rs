//! Configuration, alarms and metrics as texts.
