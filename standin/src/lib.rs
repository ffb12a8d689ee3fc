//! A model server that is not one: it speaks the OpenAI and Anthropic HTTP APIs, and what it answers
//! follows from the request and a seed alone.
//!
//! Demonstrations, whole-system tests and benchmarks put it where vLLM or a hosted provider would be. It
//! streams at a chosen rate, calls tools, reports usage with a simulated prefix cache, fails on request,
//! and keeps count of what a gateway must never do: hand a tool result to a model that did not ask for it.
//!
//! # What it serves
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/chat/completions` | OpenAI chat, streamed or whole |
//! | `POST /v1/messages` | Anthropic messages, streamed or whole |
//! | `POST /v1/responses` | OpenAI responses, streamed or whole |
//! | `GET /v1/models`, `GET /health` | the one model; 200 |
//! | `GET /stand-in/stats` | [`Stats`] as JSON |
//! | `GET /stand-in/requests` | the last [`stats::SEEN_KEPT`] requests, as [`Seen`] |
//!
//! Each answer to a `POST` carries `x-stand-in-model` and `x-stand-in-body-xxh3`, the XXH3-64 digest (16
//! hexadecimal digits) of the body as received, so that a test can tell whether a byte changed on the way.
//!
//! # When it calls a tool
//!
//! Tools must be offered and `tool_choice` must not be `none`. Then it calls one if `tool_choice` demands it,
//! if the last message is a user's and holds `[tool]`, `[tool:NAME]` or the name of an offered tool as a word,
//! or if tool results just came in and the last user message holds `[steps:N]` with fewer than `N` calls made
//! since. Call ids are `call_<model>_<n>` (`toolu_<model>_<n>` for Anthropic), so that the issuer shows. A
//! result for a call that another model issued is answered with 409 and counted in [`Stats::violations`];
//! only results newer than the last assistant message count, since a finished loop may legally move on.
//!
//! # Directives
//!
//! Words in square brackets in the last user message steer one turn; see [`directives::Directives`].

pub mod demo;
pub mod directives;
pub mod options;
pub mod server;
pub mod stats;

mod answer;
mod dialect;
pub mod endpoint;
mod faults;
mod prefix;
mod script;
mod service;
mod turn;

#[cfg(test)]
mod tests;

pub use options::{Options, Pace};
pub use server::{StandIn, run};
pub use stats::{Seen, Stats};
