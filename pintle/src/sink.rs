//! Finished flows, from the workers to the journal.

use pintle_control::JournalHandle;
use pintle_dataplane::flow::FinishedFlow;
use pintle_dataplane::shared::FlowSink;

/// The journal's end of the data plane.
pub(crate) struct JournalSink(pub(crate) JournalHandle);

impl FlowSink for JournalSink {
    fn offer(&self, flow: Box<FinishedFlow>) -> bool {
        self.0.offer(Box::new(flow.into_document())).is_ok()
    }
}
