//! Retention: plan, apply, forecast, explain, pin, restore; the policy, and the inputs of a decision.

mod explain;
mod forecast;
mod pin;
mod prune;
mod undelete;

pub(crate) use crate::decisions::{add_verdicts, dropped};
pub use crate::decisions::{decisions, facts, known_decisions, policy, protections, thinned};
pub use crate::options::policy_file;
pub use forecast::Forecast;
pub(crate) use pin::author;
pub use pin::{NewPin, PinState, Unpinned};
pub(crate) use prune::prune_now;
pub use prune::{GRACE, Pruned, limited, stays};
pub use undelete::Restored;
