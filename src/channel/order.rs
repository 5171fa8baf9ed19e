//! What somebody orders on the admin listener: the agent tells the master, which does it as it does what a command asks for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Put the configuration on disk into force.
    Reload,
    /// So many workers, 1 to 512.
    ScaleTo(u16),
    /// One worker more.
    ScaleUp,
    /// One worker less, but never none.
    ScaleDown,
    /// Have all workers drain, until the next reload; connections wait.
    Pause,
}

impl Order {
    /// Its kind, as paths and events name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::ScaleTo(_) | Self::ScaleUp | Self::ScaleDown => "scale",
            Self::Pause => "pause",
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reload => formatter.write_str("reload"),
            Self::ScaleTo(workers) => write!(formatter, "scale to {workers}"),
            Self::ScaleUp => formatter.write_str("one worker more"),
            Self::ScaleDown => formatter.write_str("one worker less"),
            Self::Pause => formatter.write_str("pause"),
        }
    }
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderOutcome {
    /// It was done; what was done, in words.
    Done(String),
    /// It was not done; why.
    Failed(String),
    /// Nothing was tried: there are too many orders.
    TooMany,
}
