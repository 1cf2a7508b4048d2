//! The proving ground's tools: what whole-system tests share.
//!
//! Owns the running of a Strata process ([`site`], [`page`], [`watch`]), a plain client ([`talk`]), a raw one
//! ([`wire`]) and a well-behaved one ([`good`]), producers and consumers that work until their server is gone
//! ([`traffic`]), file systems that lose power and fill up ([`volume`]), the
//! record of what a test did and saw ([`history`], [`dump`]), the judge of that record ([`check`]), the story of a
//! data folder whose server dies again and again ([`epoch`]), and Apache's release, whose clients and filter are
//! used ([`apache`]). The tests themselves are beside this folder ([`report`] says how they end); nothing here is
//! part of the product.
#![forbid(unsafe_code)]

pub mod apache;
pub mod check;
pub mod clock;
pub mod draw;
pub mod dump;
pub mod epoch;
pub mod good;
pub mod history;
pub mod limits;
pub mod loss;
pub mod message;
pub mod page;
pub mod report;
pub mod setting;
pub mod site;
pub mod talk;
pub mod traffic;
pub mod violation;
pub mod volume;
pub mod watch;
pub mod wire;
