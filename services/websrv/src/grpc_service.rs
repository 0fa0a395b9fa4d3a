//! Which methods of gRPC's own services there are: health and reflection.

use connectrpc::MethodKind;

use crate::reflection;

pub(crate) const CHECK: &str = "grpc.health.v1.Health/Check";
pub(crate) const WATCH: &str = "grpc.health.v1.Health/Watch";

/// What kind of method of ours this is, by `<package>.<Service>/<Method>`.
pub(crate) fn method(name: &str) -> Option<MethodKind> {
    match name {
        CHECK => Some(MethodKind::Unary),
        WATCH => Some(MethodKind::ServerStreaming),
        _ if reflection::is_method(name) => Some(MethodKind::BidiStreaming),
        _ => None,
    }
}
