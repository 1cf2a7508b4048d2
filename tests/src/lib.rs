//! The proving ground's tools: what whole-system tests share.
//!
//! Owns the running of a Strata process ([`site`]), a plain client ([`talk`]), the record of what a test
//! did and saw ([`history`], [`dump`]), and the judge of that record ([`check`]). The tests themselves are
//! beside this folder; nothing here is part of the product.
#![forbid(unsafe_code)]

pub mod check;
pub mod clock;
pub mod draw;
pub mod dump;
pub mod history;
pub mod limits;
pub mod message;
pub mod setting;
pub mod site;
pub mod talk;
pub mod violation;
