//! Facts about a request, from its head and body.
