//! Evaluates the buf.validate rules of the contract on a message of any type.
//!
//! Rules are read from the descriptors once and kept as plans; a check then costs no look-up of options. There is no CEL: what
//! a standard rule cannot say, the owning daemon checks (docs/adr/0007-validation-without-cel.md). Semantics follow
//! protovalidate: a field with presence that is not set is skipped unless `required`; a field without presence is checked with
//! its zero value unless `ignore` says otherwise; a missing required field reports only that.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost_reflect::{DynamicMessage, FieldDescriptor, MapKey, OneofDescriptor, ReflectMessage as _, Value};

#[cfg(test)]
mod known;
mod plan;
mod text;

use plan::{FieldPlan, Ignore};

/// Reported at most, so that a hostile message cannot make a reply longer than itself.
const MAX_VIOLATIONS: usize = 32;

/// One rule a message breaks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Violation {
    /// Where: `host.metadata["rack"]`, in names of the `.proto` file.
    pub field: String,
    /// Which rule: `string.max_len`.
    pub rule: String,
    /// What is expected, for people. Never repeats the value.
    pub message: String,
}

pub(crate) struct MessagePlan {
    pub(crate) fields: Vec<(FieldDescriptor, FieldPlan)>,
    /// One member of each must be set.
    pub(crate) required_oneofs: Vec<OneofDescriptor>,
}

static PLANS: LazyLock<HashMap<String, MessagePlan>> = LazyLock::new(|| plan::plans(crate::pool()));

/// Checks a message, and all messages in it, against the rules of the contract. Empty when it keeps them; at most 32
/// violations are reported. Messages of other packages have no rules.
#[must_use]
pub fn validate(message: &DynamicMessage) -> Vec<Violation> {
    let mut report = Report { violations: Vec::new(), path: String::new() };
    report.message(&PLANS, message);
    report.violations
}

/// The same with rules of another pool: for the tests of the evaluator.
#[cfg(test)]
pub(crate) fn validate_with(
    plans: &HashMap<String, MessagePlan>,
    message: &DynamicMessage,
) -> Vec<Violation> {
    let mut report = Report { violations: Vec::new(), path: String::new() };
    report.message(plans, message);
    report.violations
}

pub(crate) struct Report {
    violations: Vec<Violation>,
    path: String,
}

impl Report {
    fn add(&mut self, rule: &str, message: impl Into<String>) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation {
                field: self.path.clone(),
                rule: rule.to_owned(),
                message: message.into(),
            });
        }
    }

    /// Runs `check` with `part` appended to the path.
    fn within(&mut self, part: &str, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 && !part.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(part);
        check(self);
        self.path.truncate(length);
    }

    fn message(&mut self, plans: &HashMap<String, MessagePlan>, message: &DynamicMessage) {
        if self.violations.len() >= MAX_VIOLATIONS {
            return;
        }
        let descriptor = message.descriptor();
        let Some(plan) = plans.get(descriptor.full_name()) else { return };
        for oneof in &plan.required_oneofs {
            if !oneof.fields().any(|field| message.has_field(&field)) {
                let names: Vec<String> = oneof.fields().map(|field| field.name().to_owned()).collect();
                self.within(oneof.name(), |report| {
                    report.add("required", format!("exactly one of {} is required", names.join(", ")));
                });
            }
        }
        for (field, plan) in &plan.fields {
            self.within(field.name(), |report| report.field(plans, message, field, plan));
        }
    }

    fn field(
        &mut self,
        plans: &HashMap<String, MessagePlan>,
        message: &DynamicMessage,
        field: &FieldDescriptor,
        plan: &FieldPlan,
    ) {
        if plan.ignore == Ignore::Always {
            return;
        }
        // Without presence "set" means "not the zero value".
        let set = message.has_field(field);
        if !set {
            if plan.required {
                self.add("required", "value is required");
                return;
            }
            if field.supports_presence() || plan.ignore == Ignore::IfZero {
                return;
            }
        }
        let value = message.get_field(field);
        match value.as_ref() {
            Value::List(items) => {
                plan.check(&value, self);
                for (index, item) in items.iter().enumerate() {
                    self.within(&format!("[{index}]"), |report| {
                        report.element(plans, item, plan.items.as_deref())
                    });
                }
            }
            Value::Map(pairs) => {
                plan.check(&value, self);
                // A map has no order; reports should.
                let mut pairs: Vec<(&MapKey, &Value)> = pairs.iter().collect();
                pairs.sort_by_key(|(key, _)| key_text(key));
                for (key, item) in pairs {
                    self.within(&format!("[{}]", key_text(key)), |report| {
                        if let Some(keys) = &plan.keys {
                            keys.check(&Value::from(key.clone()), report);
                        }
                        report.element(plans, item, plan.values.as_deref());
                    });
                }
            }
            Value::Message(inner) if set => self.message(plans, inner),
            Value::Message(_) => {}
            _ => plan.check(&value, self),
        }
    }

    fn element(&mut self, plans: &HashMap<String, MessagePlan>, value: &Value, plan: Option<&FieldPlan>) {
        if let Some(plan) = plan {
            plan.check(value, self);
        }
        if let Value::Message(inner) = value {
            self.message(plans, inner);
        }
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => {
            // A path is for people and logs: a hostile key must not be repeated at length.
            let mut short: String = text.chars().take(32).collect();
            if short.len() < text.len() {
                short.push('…');
            }
            format!("{short:?}")
        }
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
