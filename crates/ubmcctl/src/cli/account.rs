//! What is asked of accounts, roles, sessions and locks.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Parts of an account a client may choose.
#[derive(Debug, Args)]
pub(crate) struct Account {
    /// Administrator, Operator, ReadOnly, or one that was made
    #[arg(long)]
    pub(crate) role: Option<String>,
    /// Name of the person
    #[arg(long)]
    pub(crate) full_name: Option<String>,
    /// E-mail address
    #[arg(long)]
    pub(crate) email: Option<String>,
    /// Whether it may log in over IPMI, from its next password on
    #[arg(long, value_name = "on|off", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) ipmi: Option<bool>,
    /// What it may be used for, such as redfish,web-ui,host-console,kvmip,virtual-media,ipmi
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    pub(crate) types: Option<Vec<String>>,
    /// Whether it is for what was given and nothing else, whatever role it gets
    #[arg(long, value_name = "on|off", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) strict_types: Option<bool>,
    /// When it expires, such as 2027-01-31T18:00:00Z; empty: never
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// All roles and their privileges
    List,
    /// Make a role
    Create {
        /// Its name
        name: String,
        /// What it allows, such as login,configure-self,configure-components
        #[arg(long, value_name = "PRIVILEGES", value_delimiter = ',', required = true)]
        allow: Vec<String>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
    },
    /// Change a role that was made: sessions of its accounts end
    Update {
        /// Its name
        name: String,
        /// What it allows from now on
        #[arg(long, value_name = "PRIVILEGES", value_delimiter = ',')]
        allow: Option<Vec<String>>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
    },
    /// Delete a role that no account has
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// All accounts
    List,
    /// What passwords and logins are held to; with an option it is set
    Policy {
        /// Fewest characters of a password
        #[arg(long, value_name = "CHARACTERS")]
        min_length: Option<u32>,
        /// Days until a password has to be changed; 0 is never
        #[arg(long, value_name = "DAYS")]
        max_age_days: Option<u32>,
        /// Passwords before the present one that an owner must not choose again, up to 8
        #[arg(long, value_name = "NUMBER")]
        history: Option<u32>,
        /// Failures of one account from one address before the first delay
        #[arg(long, value_name = "FAILURES")]
        lockout_threshold: Option<u32>,
        /// The longest delay, in seconds
        #[arg(long, value_name = "SECONDS")]
        lockout_duration: Option<u32>,
        /// How long after the last failure those before are forgotten, in seconds; at least the longest delay
        #[arg(long, value_name = "SECONDS")]
        lockout_forget_after: Option<u32>,
        /// How long a session lasts that nobody uses, in seconds
        #[arg(long, value_name = "SECONDS")]
        session_idle: Option<u32>,
    },
    /// One account
    Get {
        /// Name or id; your own when not given
        name: Option<String>,
    },
    /// Create an account
    Create {
        /// Its name
        name: String,
        #[command(flatten)]
        account: Account,
        /// File with its password; asked for when not given
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
        /// The password must be changed at the first login
        #[arg(long)]
        must_change: bool,
        /// It cannot log in yet
        #[arg(long)]
        disabled: bool,
    },
    /// Change an account
    Update {
        /// Name or id
        name: String,
        #[command(flatten)]
        account: Account,
        /// A new name
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        /// It can log in
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// It cannot log in
        #[arg(long)]
        disable: bool,
        /// Forget its failed logins
        #[arg(long)]
        unlock: bool,
    },
    /// Change your password, or set another account's
    Passwd {
        /// Name or id; your own when not given
        name: Option<String>,
        /// File with the new password; asked for when not given
        #[arg(long, value_name = "FILE", conflicts_with = "generate")]
        new_password_file: Option<PathBuf>,
        /// Another account: make a random password and print it
        #[arg(long, requires = "name")]
        generate: bool,
        /// Another account: it need not change the password at its next login
        #[arg(long, requires = "name")]
        keep: bool,
    },
    /// Delete an account
    Delete {
        /// Name or id
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Your sessions
    List {
        /// Those of all accounts
        #[arg(long)]
        all: bool,
    },
    /// End a session
    Delete {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LockoutCommand {
    /// The locks in force
    List {
        /// Only those of this account: name or id
        name: Option<String>,
    },
    /// Lift a lock
    Delete {
        /// Its id
        id: String,
    },
}
