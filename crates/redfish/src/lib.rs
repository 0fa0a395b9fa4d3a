//! Redfish (DSP0266) as requests and answers, without I/O: which resources there are, what each shows and takes, and what is said about that.
//!
//! ```text
//!  request ─► Route ─► Exchange::step ─┬─► Read(needs)   ─► (who has a bus) ─► Exchange::filled ─┐
//!             who may?                 ├─► Write(call)   ─► (who has a bus) ─► Exchange::written ┤
//!             privilege registry       └─► Done(answer)                                          │
//!                    ▲                                                                           │
//!                    └───────────────────────── the next step ◄──────────────────────────────────┘
//! ```
//!
//! A resource is one file under `resources`: its JSON, its links, its actions, and where each value comes from. Adding one touches that file and the
//! list in `resources/mod.rs`.
//!
//! It must never
//! - show what nobody said: what is not known is absent, or null where it is known that there is something to know;
//! - decide by itself who may do what: DMTF's privilege registry does, and the owner of what is asked for once more.
//!
//! Rules: Redfish Specification DSP0266, version 1.22; sections are named where a rule comes from.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

mod accept;
mod answer;
mod body;
mod etag;
mod exchange;
mod fault;
mod filter;
mod index;
mod message;
mod metadata;
mod pointer;
mod privilege;
mod query;
mod refusal;
mod reports;
mod resource;
pub mod resources;
mod rollup;
mod room;
mod route;
mod select;
mod shown;
mod world;

pub use answer::{Answer, Body};
pub use exchange::{Exchange, Request, Step};
pub use fault::{Fault, Fields};
pub use filter::{Filter, FilterError};
pub use message::{
    Content, Message, Registry, Severity, Template, base, heartbeat_event, resource_event, task_event, update,
};
pub use pointer::Pointer;
pub use privilege::{Asker, Entity, Method, Privileges, entity};
pub use query::{Expand, Follow, LEVELS_MAX, Query, QueryError};
pub use reports::{MetricReport, kind_report, metric_report, metric_reports, periodic_reports};
pub use resource::{
    Action, Answers, Change, Create, Deed, Delete, Given, Kind, Made, Names, Offers, Parameter, Patch,
    Property, Resource, Show, Values,
};
pub use rollup::{Health, Rollup};
pub use route::Route;
pub use select::{Select, SelectError};
pub use world::{About, Call, Collected, Need, StreamOpen, Supply, World};
