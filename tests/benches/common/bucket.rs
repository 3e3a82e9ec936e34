//! The object store of the tests, for benchmarks.

#[path = "../../it/bucket/ceph.rs"]
mod ceph;
#[path = "../../it/bucket/server.rs"]
mod server;

pub(crate) use ceph::Ceph;
pub(crate) use server::Server;
