//! Finished flows, from the workers to the journal.

use std::sync::Arc;

use pintle_control::JournalHandle;
use pintle_dataplane::shared::{FlowSink, Generation};
use pintle_routing::flow::FlowRecord;

/// The journal's end of the data plane.
pub(crate) struct JournalSink(pub(crate) JournalHandle);

impl FlowSink for JournalSink {
    fn offer(&self, flow: Box<FlowRecord>, generation: &Arc<Generation>) -> bool {
        self.0.offer(flow, Arc::<Generation>::clone(generation)).is_ok()
    }
}
