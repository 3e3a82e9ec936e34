//! The object store of the tests, for benchmarks.

#[path = "../../it/bucket/ceph.rs"]
mod ceph;
#[path = "../../it/bucket/far.rs"]
#[expect(dead_code, reason = "tests also look at what was asked")]
mod far;
#[path = "../../it/bucket/server.rs"]
mod server;
#[path = "../../it/waiting.rs"]
#[expect(dead_code, reason = "tests also wait for other things")]
mod waiting;

pub(crate) use ceph::Ceph;
pub(crate) use far::Far;
pub(crate) use server::Server;
use waiting::{free_port, wait_or_show};
