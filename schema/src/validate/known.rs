//! Names of the buf.validate rules the evaluator implements. The build script refuses all others.

/// Messages that group rules for one type.
pub(crate) const GROUPS: &[&str] = &[
    "string", "bytes", "enum", "bool", "double", "float", "int32", "int64", "uint32", "uint64", "repeated", "map",
];

/// Groups that hold the rules of an element.
pub(crate) const ELEMENTS: &[&str] = &["repeated.items", "map.keys", "map.values"];

/// The rules.
pub(crate) const RULES: &[&str] = &[
    "required", "ignore", "oneof.required",
    "string.const", "string.len", "string.min_len", "string.max_len", "string.min_bytes", "string.max_bytes",
    "string.pattern", "string.prefix", "string.suffix", "string.contains", "string.not_contains", "string.in",
    "string.not_in", "string.email", "string.uuid", "string.ip", "string.ipv4", "string.ipv6", "string.hostname",
    "bytes.len", "bytes.min_len", "bytes.max_len",
    "enum.const", "enum.defined_only", "enum.in", "enum.not_in",
    "bool.const",
    "double.const", "double.lt", "double.lte", "double.gt", "double.gte", "double.finite",
    "float.const", "float.lt", "float.lte", "float.gt", "float.gte", "float.finite",
    "int32.const", "int32.lt", "int32.lte", "int32.gt", "int32.gte", "int32.in", "int32.not_in",
    "int64.const", "int64.lt", "int64.lte", "int64.gt", "int64.gte", "int64.in", "int64.not_in",
    "uint32.const", "uint32.lt", "uint32.lte", "uint32.gt", "uint32.gte", "uint32.in", "uint32.not_in",
    "uint64.const", "uint64.lt", "uint64.lte", "uint64.gt", "uint64.gte", "uint64.in", "uint64.not_in",
    "repeated.min_items", "repeated.max_items", "repeated.unique",
    "map.min_pairs", "map.max_pairs",
];
