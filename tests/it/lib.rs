//! An empty library: the crate consists of its tests.
