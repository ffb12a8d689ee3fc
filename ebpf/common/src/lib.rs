//! What the programs in the kernel and the loader agree on: limits and the layout of map values.
//!
//! Every structure is `repr(C)` without implicit padding, in the machine's byte order.

#![cfg_attr(not(feature = "user"), no_std)]

pub mod guard;
pub mod steer;
pub mod telemetry;

/// Implements `aya::Pod` where the loader asks for it.
#[cfg(feature = "user")]
macro_rules! pod {
    ($($name:ty),+ $(,)?) => {
        $(
            // SAFETY: repr(C), `Copy`, only integers and arrays of them, no padding (asserted below).
            unsafe impl aya::Pod for $name {}
        )+
    };
}

#[cfg(feature = "user")]
mod user {
    use super::{guard, steer, telemetry};

    pod!(steer::Cell, guard::Settings, guard::Rule, guard::Source, telemetry::Endpoint);
    pod!(telemetry::Aggregate, telemetry::Connecting, telemetry::Event);
    pod!(telemetry::Retransmitted, guard::Counters, telemetry::Offsets);
}

const _: () = {
    assert!(size_of::<steer::Cell>() == 128);
    assert!(size_of::<guard::Rule>() == 24);
    assert!(size_of::<guard::Source>() == 24);
    assert!(size_of::<guard::Settings>() == 32);
    assert!(size_of::<guard::Counters>() == 8 * guard::COUNTERS as usize);
    assert!(size_of::<telemetry::Endpoint>() == 20);
    assert!(size_of::<telemetry::Connecting>() == 8);
    assert!(size_of::<telemetry::Aggregate>() == 8 * 11);
    assert!(size_of::<telemetry::Event>() == 56);
    assert!(size_of::<telemetry::Retransmitted>() == 16);
    assert!(size_of::<telemetry::Offsets>() == 32);
};
