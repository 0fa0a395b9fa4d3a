//! What can go wrong, what to do about it, and the exit code that says so.

use schema::MethodInfo;

use crate::text::clean;

/// What each exit code means: the text of `--help`, and the table of docs/ubmcctl.md, which a test compares.
pub(crate) const EXIT_CODES: [(u8, &str); 11] = [
    (0, "done"),
    (1, "the server or this machine failed"),
    (2, "wrong arguments or configuration, or values the BMC does not take"),
    (3, "not reachable in time, or its certificate is not trusted"),
    (4, "not logged in, a wrong password, or locked out after too many"),
    (5, "not permitted"),
    (6, "no such thing"),
    (7, "what was waited for failed, or did not come about in time"),
    (8, "the state does not allow it, a conflict, or refused by some of many"),
    (130, "interrupted with Ctrl-C; what the BMC has begun goes on"),
    (141, "nobody reads the output any more"),
];

/// Why a command did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments or the configuration cannot work.
    #[error("{0}")]
    Usage(String),
    /// Nobody has said who asks.
    #[error("not logged in:  {0}")]
    NotLoggedIn(&'static str),
    /// A file or the terminal on this machine.
    #[error("{0}")]
    Local(String),
    /// No answer: name, route, port, TLS handshake, or a connection that broke.
    #[error("cannot reach {server}: {cause}")]
    Unreachable {
        /// As given.
        server: String,
        /// What the machine said.
        cause: String,
    },
    /// The certificate is not signed by a CA this machine trusts.
    #[error("the certificate of {server} is not trusted: {cause}")]
    Untrusted {
        /// As given.
        server: String,
        /// The context that trusts no certificate of its own yet.
        context: Option<String>,
        /// SHA-256 of the certificate the server showed.
        fingerprint: String,
        /// What the verifier said.
        cause: String,
    },
    /// The certificate is not the pinned one.
    #[error("the certificate of {server} has changed: expected {expected}, got {found}")]
    PinMismatch {
        /// As given.
        server: String,
        /// The context that pins it.
        context: Option<String>,
        /// What is pinned.
        expected: String,
        /// What the server showed.
        found: String,
    },
    /// The server refused or failed.
    #[error("{0}")]
    Status(Box<Status>),
    /// What was waited for did not come about.
    #[error("{0}")]
    Wait(String),
    /// Done by some, refused by others.
    #[error("{0}")]
    Partial(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Nobody reads our output any more.
    #[error("output closed")]
    BrokenPipe,
}

/// An error answer.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    /// What kind.
    pub(crate) code: Code,
    /// For people.
    pub(crate) message: String,
    /// `reason` of google.rpc.ErrorInfo; empty when there is none.
    pub(crate) reason: String,
    /// Fields that failed validation, and why.
    pub(crate) violations: Vec<(String, String)>,
    /// Method that was called.
    pub(crate) method: Option<&'static MethodInfo>,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |(field, why): &(String, String)| match field.as_str() {
            "" => why.clone(),
            field => format!("{field}: {why}"),
        };
        let lines: Vec<String> = self.violations.iter().map(line).collect();
        // The message of several is all of them in one line, which nobody reads: each has a line of its own.
        let is_list = lines.len() > 1 && self.message == lines.join("; ");
        match self.message.as_str() {
            "" => f.write_str(self.code.name())?,
            _ if is_list => f.write_str("several fields are wrong")?,
            message => f.write_str(&clean(message))?,
        }
        if !self.reason.is_empty() && !self.message.contains(self.reason.as_str()) {
            write!(f, " ({})", clean(&self.reason))?;
        }
        // What the message says is said once.
        let is_told = |line: &str, why: &str| {
            !is_list && (self.message.contains(line) || lines.len() == 1 && self.message.contains(why))
        };
        for (line, (_, why)) in lines.iter().zip(&self.violations) {
            if !is_told(line, why) {
                write!(f, "\n  {}", clean(line))?;
            }
        }
        Ok(())
    }
}

/// gRPC status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Cancelled = 1,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Code {
    const NAMES: [(Self, &'static str); 16] = [
        (Self::Cancelled, "canceled"),
        (Self::Unknown, "unknown"),
        (Self::InvalidArgument, "invalid_argument"),
        (Self::DeadlineExceeded, "deadline_exceeded"),
        (Self::NotFound, "not_found"),
        (Self::AlreadyExists, "already_exists"),
        (Self::PermissionDenied, "permission_denied"),
        (Self::ResourceExhausted, "resource_exhausted"),
        (Self::FailedPrecondition, "failed_precondition"),
        (Self::Aborted, "aborted"),
        (Self::OutOfRange, "out_of_range"),
        (Self::Unimplemented, "unimplemented"),
        (Self::Internal, "internal"),
        (Self::Unavailable, "unavailable"),
        (Self::DataLoss, "data_loss"),
        (Self::Unauthenticated, "unauthenticated"),
    ];

    /// As the Connect protocol writes it.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(code, _)| *code == self).map_or("unknown", |(_, name)| name)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(code, _)| *code)
    }

    /// By its number on the wire of gRPC.
    pub(crate) fn from_number(number: i32) -> Self {
        Self::NAMES.iter().find(|(code, _)| *code as i32 == number).map_or(Self::Unknown, |(code, _)| *code)
    }

    /// For an answer that did not come from the API but from something before it.
    pub(crate) fn from_http(status: http::StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

impl Failure {
    /// The exit code; see [`EXIT_CODES`].
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::NotLoggedIn(_) => 4,
            Self::Local(_) => 1,
            Self::Unreachable { .. } | Self::Untrusted { .. } | Self::PinMismatch { .. } => 3,
            Self::Status(status) => match status.code {
                Code::InvalidArgument => 2,
                Code::Unauthenticated => 4,
                Code::PermissionDenied => 5,
                Code::NotFound => 6,
                Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists => 8,
                _ => 1,
            },
            Self::Wait(_) => 7,
            Self::Partial(_) => 8,
            Self::Interrupted => 130,
            // What a shell shows for a process killed by SIGPIPE.
            Self::BrokenPipe => 141,
        }
    }

    /// What went wrong with showing what has been done: what has been comes first, also where nobody reads any more.
    pub(crate) fn after(self, done: &str) -> Self {
        Self::Local(format!("{done}: {self}"))
    }

    /// What to do about it, one line each.
    pub(crate) fn advice(&self) -> Vec<String> {
        match self {
            Self::Unreachable { .. } => {
                vec!["is the address right, is the BMC on the network, does a firewall drop the port?".to_owned()]
            }
            Self::Untrusted { server, context, fingerprint, .. } => vec![
                format!("a new BMC has a certificate it made itself. Compare its fingerprint with what its console shows: {fingerprint}"),
                match context {
                    Some(name) => format!("then pin it:  ubmcctl context add {name} --replace --fingerprint {fingerprint}"),
                    None => format!("then pin it:  ubmcctl context add NAME --server {server} --fingerprint {fingerprint}"),
                },
                "or name the CA that signed it with --ca FILE; --insecure skips the check and is for tests".to_owned(),
            ],
            Self::PinMismatch { server, context, found, .. } => vec![
                "nothing was sent: somebody may be between you and the BMC. Compare the new fingerprint with what its console shows".to_owned(),
                match context {
                    Some(name) => format!("then pin it and log in again:  ubmcctl context add {name} --replace --fingerprint {found}"),
                    None => format!("then give it:  --server {server} --fingerprint {found}"),
                },
            ],
            Self::Status(status) => status.advice(),
            _ => Vec::new(),
        }
    }
}

impl Failure {
    /// Something that the server does not have, seen in what it lists.
    pub(crate) fn not_found(message: String) -> Self {
        let code = Code::NotFound;
        Self::Status(Box::new(Status {
            code,
            message,
            reason: String::new(),
            violations: Vec::new(),
            method: None,
        }))
    }
}

impl Status {
    fn advice(&self) -> Vec<String> {
        if self.reason == "PASSWORD_CHANGE_REQUIRED" {
            return vec![
                "this password is good for one thing only: change it with `ubmcctl user passwd`".to_owned(),
            ];
        }
        if self.reason == "LOCKED_OUT" {
            return vec![
                "wait, or have an administrator lift it:  ubmcctl lockout list, then  ubmcctl lockout delete ID".to_owned(),
            ];
        }
        if self.reason == "STORE_FULL" {
            return vec![
                "nothing was changed: the BMC's flash has no room.  ubmcctl system status  says since when"
                    .to_owned(),
            ];
        }
        if matches!(self.reason.as_str(), "NOT_STORED" | "STORE_FAILED") {
            return vec![
                "nothing was changed: the BMC could not store it.  ubmcctl system status  says more"
                    .to_owned(),
            ];
        }
        if self.reason == "MAINTENANCE" {
            return vec!["somebody works on the machine. When that is over:  ubmcctl bmc enable".to_owned()];
        }
        if self.reason == "TRANSITION_IN_PROGRESS" {
            return vec!["see it to its end first:  ubmcctl host wait".to_owned()];
        }
        match self.code {
            Code::Unauthenticated if self.reason == "INVALID_CREDENTIALS" => Vec::new(),
            Code::Unauthenticated if self.method.is_some_and(|method| method.method == "CreateSession") => {
                vec![
                    "name or password is wrong, or the account is locked for a while after too many failures"
                        .to_owned(),
                ]
            }
            Code::Unauthenticated => vec!["log in:  ubmcctl login".to_owned()],
            // Refused for another reason than a missing privilege, which the message says.
            Code::PermissionDenied if !matches!(self.reason.as_str(), "" | "MISSING_PRIVILEGE") => Vec::new(),
            Code::PermissionDenied => match self.method {
                Some(method) => {
                    let privilege = method.privilege.as_str_name().trim_start_matches("PRIVILEGE_");
                    if method.self_field.is_none() && self.message.contains(privilege) {
                        return Vec::new();
                    }
                    let own = if method.self_field.is_some() {
                        " for your own account, CONFIGURE_USERS for others"
                    } else {
                        ""
                    };
                    vec![format!(
                        "{} needs the privilege {privilege}{own}; your role does not have it",
                        method.method
                    )]
                }
                None => Vec::new(),
            },
            Code::Unavailable | Code::DeadlineExceeded => {
                vec!["the BMC answers, a part of it does not:  ubmcctl system status".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::Local(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, Failure, Status};

    fn status(code: Code, reason: &str, method: &str) -> Failure {
        Failure::Status(Box::new(Status {
            code,
            message: String::new(),
            reason: reason.to_owned(),
            violations: Vec::new(),
            method: schema::method(&format!("schema.v1alpha1.{method}")),
        }))
    }

    #[test]
    fn exit_codes_are_those_of_the_page() {
        let text = || String::new();
        let cases = [
            (Failure::Local(text()), 1),
            (Failure::Usage(text()), 2),
            (Failure::Unreachable { server: text(), cause: text() }, 3),
            (Failure::Untrusted { server: text(), context: None, fingerprint: text(), cause: text() }, 3),
            (Failure::PinMismatch { server: text(), context: None, expected: text(), found: text() }, 3),
            (status(Code::Unauthenticated, "", ""), 4),
            (status(Code::PermissionDenied, "", ""), 5),
            (status(Code::NotFound, "", ""), 6),
            (Failure::Wait(text()), 7),
            (status(Code::FailedPrecondition, "", ""), 8),
            (status(Code::Aborted, "", ""), 8),
            (status(Code::AlreadyExists, "", ""), 8),
            (status(Code::Unavailable, "", ""), 1),
            (status(Code::InvalidArgument, "", ""), 2),
            (Failure::NotLoggedIn(""), 4),
            (Failure::Partial(text()), 8),
            (Failure::Interrupted, 130),
            (Failure::BrokenPipe, 141),
        ];
        for (failure, expected) in cases {
            assert_eq!(failure.exit_code(), expected, "{failure:?}");
            assert!(super::EXIT_CODES.iter().any(|(code, _)| *code == expected), "{expected} is told");
        }
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ubmcctl.md");
        let page = std::fs::read_to_string(page).unwrap();
        let part = page.split("## Exit codes").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows: Vec<(u8, &str)> = part
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
            .filter_map(|(code, words)| Some((code.parse().ok()?, words)))
            .collect();
        assert_eq!(rows, super::EXIT_CODES, "docs/ubmcctl.md");
    }

    #[test]
    fn every_code_has_a_name_and_is_found_by_it() {
        for (code, name) in Code::NAMES {
            assert_eq!((Code::from_name(name), code.name()), (Some(code), name));
        }
        assert_eq!(Code::from_name("nonsense"), None);
    }

    #[test]
    fn advice_says_what_to_do() {
        let denied = status(Code::PermissionDenied, "", "HostService.ChangeHostState").advice().join(" ");
        assert!(denied.contains("CONFIGURE_COMPONENTS"), "{denied}");
        let Failure::Status(mut told) =
            status(Code::PermissionDenied, "MISSING_PRIVILEGE", "HostService.ChangeHostState")
        else {
            panic!()
        };
        told.message = "ChangeHostState needs the privilege CONFIGURE_COMPONENTS".into();
        assert!(told.advice().is_empty(), "said once");
        let own = status(Code::PermissionDenied, "", "UserService.GetUser").advice().join(" ");
        assert!(own.contains("CONFIGURE_USERS for others"), "{own}");
        assert!(
            status(Code::Unauthenticated, "", "HostService.GetHost").advice()[0].contains("ubmcctl login")
        );
        assert!(
            status(Code::Unauthenticated, "", "SessionService.CreateSession").advice()[0].contains("wrong")
        );
        let change =
            status(Code::PermissionDenied, "PASSWORD_CHANGE_REQUIRED", "HostService.GetHost").advice();
        assert!(change[0].contains("ubmcctl user passwd"));
        let full = status(Code::Unavailable, "STORE_FULL", "HostService.UpdateHost").advice().join(" ");
        assert!(full.contains("nothing was changed") && !full.contains("a part of it does not"), "{full}");
        for reason in ["NOT_STORED", "STORE_FAILED"] {
            let told =
                status(Code::Unavailable, reason, "ThermalService.SetThermalProfile").advice().join(" ");
            assert!(told.contains("could not store it") && !told.contains("a part of it does not"), "{told}");
        }
        let untrusted = Failure::Untrusted {
            server: "bmc".into(),
            context: None,
            fingerprint: "sha256:ab".into(),
            cause: String::new(),
        };
        let text = untrusted.advice().join("\n");
        assert!(text.contains("--fingerprint sha256:ab") && text.contains("--insecure"), "{text}");
    }

    #[test]
    fn what_is_wrong_with_fields_is_said_once_each_in_a_line() {
        let field = |field: &str, why: &str| (field.to_owned(), why.to_owned());
        let (role, name) = (field("user.role", "there is none"), field("user.username", "it is empty"));
        for (message, violations, reason, shown) in [
            ("user.role: there is none", vec![role.clone()], "", "user.role: there is none"),
            (
                "the password is short",
                vec![field("password", "the password is short")],
                "",
                "the password is short",
            ),
            (
                "user.role: there is none; user.username: it is empty",
                vec![role.clone(), name.clone()],
                "FIELD_MASK",
                "several fields are wrong (FIELD_MASK)\n  user.role: there is none\n  user.username: it is empty",
            ),
            (
                "it was refused; user.role: there is none",
                vec![role.clone(), name],
                "",
                "it was refused; user.role: there is none\n  user.username: it is empty",
            ),
            ("no", vec![role], "", "no\n  user.role: there is none"),
            ("the body is no JSON", vec![field("", "the body is no JSON")], "", "the body is no JSON"),
        ] {
            let status = Status {
                code: Code::InvalidArgument,
                message: message.to_owned(),
                reason: reason.to_owned(),
                violations,
                method: None,
            };
            assert_eq!(status.to_string(), shown);
        }
    }

    #[test]
    fn a_message_from_the_server_cannot_drive_the_terminal() {
        let mut status = Status {
            code: Code::Internal,
            message: "a\u{1b}[31mb".into(),
            reason: String::new(),
            violations: vec![("f".into(), "x\r".into())],
            method: None,
        };
        assert!(!status.to_string().contains(['\u{1b}', '\r']));
        status.message = "f: x\r".into();
        assert_eq!(status.to_string(), "f: x\u{fffd}", "said once");
        status.message = String::new();
        status.reason = "HOST_OFF".into();
        assert!(status.to_string().starts_with("internal (HOST_OFF)"));
    }
}
