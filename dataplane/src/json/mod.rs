//! JSON bodies: scanned once into spans, patched in place, never rebuilt.
