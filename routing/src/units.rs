//! Numbers that carry their unit, so that tokens are never added to milliseconds.

use serde::{Deserialize, Serialize};

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            /// The bare number, in the unit that the type names.
            pub const fn get(self) -> $repr {
                self.0
            }
        }
    };
}

unit!(
    /// A count of model tokens, measured or estimated.
    Tokens, u64
);
unit!(
    /// Milliseconds since the Unix epoch, as the caller's clock saw it.
    UnixMillis, u64
);
unit!(
    /// A duration in microseconds.
    Micros, u64
);
unit!(
    /// A price in United States dollars per one million tokens.
    UsdPerMillion, f64
);
unit!(
    /// An amount of money in United States dollars.
    Usd, f64
);

impl UnixMillis {
    /// Milliseconds from `earlier` to `self`; zero if the clock went backwards.
    pub const fn since(self, earlier: UnixMillis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Usd {
    /// Nothing; such parts are left out of documents.
    pub fn is_zero(&self) -> bool {
        self.0 == 0.0
    }
}

impl UsdPerMillion {
    /// The price of `tokens` tokens.
    pub fn of(self, tokens: Tokens) -> Usd {
        Usd(self.0 * tokens.0 as f64 / 1e6)
    }
}
