//! Retention: plan, apply, forecast, explain, pin, restore; the policy, and the facts that a decision needs.

mod explain;
mod forecast;
mod pin;
mod prune;
mod undelete;

pub use crate::options::policy_file;
pub(crate) use crate::verdicts::dropped;
pub use crate::verdicts::{facts, known_verdicts, policy, protections, thinned, verdicts};
pub use forecast::Forecast;
pub use pin::{NewPin, PinState, Unpinned};
pub(crate) use prune::prune_now;
pub use prune::{GRACE, Pruned, limited, stays};
pub use undelete::Restored;
