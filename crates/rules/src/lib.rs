//! Recording and alerting rules: groups of expressions that are evaluated on a schedule. Knows no HTTP; alerts
//! leave through [`Notify`].
//!
//! ```text
//! rule files ─load→ GroupSpec ─Manager::update→ Group (a task each) ─eval→ storage, Notify
//! ```
//! Follows upstream's `rules/` in schedule, states, series and figures.

mod alerting;
mod depends;
mod evaluate;
mod group;
mod load;
mod manager;
mod metrics;
mod recording;
mod restore;
mod rule;
mod schedule;
mod trial;
mod view;

pub use alerting::State;
pub use evaluate::{External, Notify, QueryWatch, RuleQuery};
pub use load::{GroupSpec, LoadError, Loader, RuleKind, RuleSpec};
pub use manager::{Manager, Options, Parts};
pub use trial::{FiringAlert, Trial};
pub use view::{AlertView, AlertingView, GroupView, RuleView};

/// Names and values as they were written, sorted by name. Not `model::Labels`: here an empty value says that a
/// label is to be taken away.
pub type Pairs = Vec<(String, String)>;
