//! Stable codes of findings.
#![allow(missing_docs)]
pub const LIMIT: &str = "PCF001";
pub const NOT_UTF8: &str = "PCF002";
pub const SYNTAX: &str = "PCF003";
pub const DUPLICATE_KEY: &str = "PCF004";
pub const MORE_DOCUMENTS: &str = "PCF005";
