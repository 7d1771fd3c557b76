//! How long a message takes, as a scenario file says it.

use routing_core::time::Ticks;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How long a message takes one way. Never less than a tick.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum DelaySpec {
    /// Always the same.
    Constant {
        /// The delay.
        value: Ticks,
    },
    /// Drawn evenly for each message.
    Uniform {
        /// The shortest delay.
        min: Ticks,
        /// The longest delay, not less than the shortest.
        max: Ticks,
    },
    /// Half the measured round-trip time between the regions of the two nodes.
    Matrix {
        /// A CSV file of round-trip times in milliseconds, square or long.
        file: PathBuf,
        /// Each delay is multiplied by 1 + `jitter`·x, x exponential with mean 1.
        #[serde(default)]
        jitter: f64,
    },
}
