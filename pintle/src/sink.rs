//! Finished flows, from the workers to the journal.

use pintle_control::JournalHandle;
use pintle_control::journal::PendingFlow;
use pintle_dataplane::flow::FinishedFlow;
use pintle_dataplane::shared::FlowSink;
use pintle_routing::flow::FlowDocument;

/// The journal's end of the data plane.
pub(crate) struct JournalSink(pub(crate) JournalHandle);

impl FlowSink for JournalSink {
    fn offer(&self, flow: Box<FinishedFlow>) -> bool {
        self.0.offer(Box::new(Pending(flow))).is_ok()
    }
}

/// A flow whose document is written on the control thread.
struct Pending(Box<FinishedFlow>);

impl PendingFlow for Pending {
    fn into_document(self: Box<Self>) -> FlowDocument {
        self.0.into_document()
    }
}
