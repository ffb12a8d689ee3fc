//! Pintle: sessions.
