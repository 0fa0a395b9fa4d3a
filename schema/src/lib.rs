//! The API contract (v1alpha1) and the code generated from it.
//!
//! ```text
//!   v1alpha1/*.proto ──► build.rs ──┬─► v1alpha1::*            types (prost)
//!   third_party/*.proto             ├─► FILE_DESCRIPTOR_SET    pool(): reflection, REST and JSON, OpenAPI
//!   (google.api, buf.validate)      ├─► methods(), rpc::*      who owns a method, what it takes to call it
//!                                   └─► server::*              the calls of each service and daemon, to match on
//! ```
//!
//! The contract is complete or it does not build: see `build.rs`. What a gateway does with it is in `docs/api.md`.
//!
//! Fields marked `debug_redact` (passwords, tokens) are not shown by `Debug` of the generated types.
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

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

mod code;
mod json;
pub mod lint;
pub mod mask;
mod method;
mod names;
mod openapi;
mod page;
pub mod server;
pub mod time;
mod validate;

pub use code::Code;
pub use json::{from_json, holds_secrets, redact, reflect, to_json};
pub use openapi::{openapi, openapi_index, openapi_of};
pub use page::page;
pub use validate::{Violation, validate};

pub use method::{FieldOrigin, HttpBinding, Idempotency, Method, MethodInfo, Segment, ServiceInfo};
pub use names::unique_names;

#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    clippy::pedantic,
    reason = "generated from .proto files, whose comments become the documentation"
)]
mod generated {
    pub mod schema {
        pub mod v1alpha1 {
            include!(concat!(env!("OUT_DIR"), "/schema.v1alpha1.rs"));
            include!(concat!(env!("OUT_DIR"), "/redacted.rs"));
        }
    }
    pub mod google {
        pub mod rpc {
            include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
        }
        pub mod r#type {
            include!(concat!(env!("OUT_DIR"), "/google.r#type.rs"));
        }
    }
}

/// Error details and types of googleapis.
pub use generated::google;
/// Messages and enums of the contract.
pub use generated::schema::v1alpha1;

include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// All descriptors, imports included, as a serialized `google.protobuf.FileDescriptorSet` with our options and comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| match DescriptorPool::decode(FILE_DESCRIPTOR_SET) {
    Ok(pool) => pool,
    Err(error) => unreachable!("the build script wrote these descriptors: {error}"),
});

/// The descriptors, decoded on first use (milliseconds; daemons that do not need reflection never pay).
#[must_use]
pub fn pool() -> &'static DescriptorPool {
    &POOL
}

/// All methods, internal ones too, grouped by service.
#[must_use]
pub fn methods() -> &'static [MethodInfo] {
    &METHODS
}

/// All services, internal ones too, sorted by name.
#[must_use]
pub fn services() -> &'static [ServiceInfo] {
    &SERVICES
}

/// The method called `schema.v1alpha1.Service.Method`, or by its bus subject `rpc.Service.Method`.
#[must_use]
pub fn method(name: &str) -> Option<&'static MethodInfo> {
    METHODS.iter().find(|method| method.full_name == name || method.subject == name)
}
