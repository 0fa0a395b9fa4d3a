//! Carries out a command.

mod account;
mod call;
mod context;
mod event;
mod fleet;
mod power;
mod system;

use std::io::Write as _;
use std::path::PathBuf;

use clap::CommandFactory as _;

use crate::cli::{Cli, Command, Global, Shell};
use crate::client::{Client, Credential, Endpoint, Trust};
use crate::config::{self, Config, Context};
use crate::failure::Failure;
use crate::output::Output;
use crate::prompt;

/// Runs the command to its end.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output::new(cli.global.output);
    let session = || Session::open(&cli.global);
    match cli.command {
        Command::Context(command) => context::run(&cli.global, command, output).await,
        Command::Login(login) => context::login(session()?, login, output).await,
        Command::Logout => context::logout(session()?, output).await,
        Command::Host(command) => power::host(session()?, command, output).await,
        Command::Chassis(command) => power::chassis(session()?, command, output).await,
        Command::Bmc(command) => system::bmc(session()?, command, output).await,
        Command::User(command) => account::user(session()?, command, output).await,
        Command::Role(command) => account::role(session()?, command, output).await,
        Command::Session(command) => account::session(session()?, command, output).await,
        Command::Lockout(command) => account::lockout(session()?, command, output).await,
        Command::Event(command) => event::run(session()?, command, output).await,
        Command::System(command) => system::system(session()?, command, output).await,
        Command::Fleet(fleet) => fleet::run(&cli.global, fleet, output).await,
        Command::Call(call) => call::run(session()?, call, output).await,
        Command::Completion { shell } => completion(shell),
    }
}

fn completion(shell: Shell) -> Result<(), Failure> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ubmcctl", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}

/// Which BMC, and who we are on it: arguments and environment over context.
pub(crate) struct Session {
    pub(crate) global: Global,
    pub(crate) path: PathBuf,
    pub(crate) config: Config,
    /// Name of the context in use; `None` with a bare --server.
    pub(crate) name: Option<String>,
    pub(crate) context: Context,
}

impl Session {
    fn open(global: &Global) -> Result<Self, Failure> {
        let path = config::path(global.config.as_deref())?;
        let config = config::load(&path)?;
        // A server that is named alone is not the current context: its token must not be sent there.
        let name = match (&global.context, &global.server) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(_)) => None,
            (None, None) => config.current.clone(),
        };
        let mut context = match &name {
            Some(name) => config.contexts.get(name).cloned().ok_or_else(|| {
                let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
                let known = if known.is_empty() {
                    "there are none".to_owned()
                } else {
                    format!("known: {}", known.join(", "))
                };
                Failure::Usage(format!("there is no context `{name}`; {known}"))
            })?,
            None => Context::default(),
        };
        if let Some(server) = &global.server {
            let url = Endpoint::parse(server)?.url();
            if name.is_some() && Endpoint::parse(&context.server)?.url() != url {
                context.token = None;
                context.session = None;
                context.fingerprint = None;
                context.ca = None;
            }
            context.server = url;
        }
        if context.server.is_empty() {
            return Err(Failure::Usage(
                "which BMC? Name it with --server https://…, or once and for all: ubmcctl context add NAME --server https://…".into(),
            ));
        }
        if let Some(user) = &global.user {
            if context.user.as_ref() != Some(user) {
                context.token = None;
                context.session = None;
            }
            context.user = Some(user.clone());
        }
        if let Some(ca) = &global.ca {
            context.ca = Some(ca.clone());
            context.fingerprint = None;
        }
        if let Some(fingerprint) = global.fingerprint {
            context.fingerprint = Some(fingerprint);
            context.ca = None;
        }
        Ok(Self { global: global.clone(), path, config, name, context })
    }

    pub(crate) fn trust(&self) -> Trust {
        match (&self.context.fingerprint, &self.context.ca) {
            _ if self.global.insecure => Trust::Insecure,
            (Some(pin), _) => Trust::Pin(*pin),
            (None, Some(ca)) => Trust::Ca(ca.clone()),
            (None, None) => Trust::System,
        }
    }

    pub(crate) fn endpoint(&self) -> Result<Endpoint, Failure> {
        Endpoint::parse(&self.context.server)
    }

    /// A client that sends this credential.
    pub(crate) fn client_with(&self, credential: &Credential) -> Result<Client, Failure> {
        Client::new(self.endpoint()?, &self.trust(), credential, self.global.timeout)
    }

    /// A client that is logged in: by --password-file, else by the session of the context, else by asking.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let credential = match (&self.global.password_file, &self.context.token) {
            (None, Some(token)) => Credential::Token(token.clone()),
            (None, None) if self.context.user.is_none() => {
                return Err(Failure::NotLoggedIn(if self.name.is_some() {
                    "ubmcctl login --user NAME"
                } else {
                    "name the account with --user NAME"
                }));
            }
            _ => {
                let user = self.user()?;
                Credential::Basic { password: self.password(&user).await?, user }
            }
        };
        self.client_with(&credential)
    }

    /// The account we are.
    pub(crate) fn user(&self) -> Result<String, Failure> {
        self.context
            .user
            .clone()
            .ok_or_else(|| Failure::Usage("which account? Name it with --user NAME".into()))
    }

    /// The account's password, from its file or from the person at the terminal.
    pub(crate) async fn password(&self, user: &str) -> Result<String, Failure> {
        match &self.global.password_file {
            Some(path) => prompt::secret_from(path),
            None => prompt::secret(&format!("Password of {user} on {}: ", self.context.server)).await,
        }
    }

    /// Keeps the context as it is now, under its name or one made from the server.
    pub(crate) fn remember(&mut self) -> Result<String, Failure> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                let known =
                    self.config.contexts.iter().find(|(_, context)| context.server == self.context.server);
                let host: String = self
                    .endpoint()?
                    .host()
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' })
                    .take(64)
                    .collect();
                known.map_or(host, |(name, _)| name.clone())
            }
        };
        config::check_name(&name)?;
        self.config.contexts.insert(name.clone(), self.context.clone());
        if self.config.current.is_none() {
            self.config.current = Some(name.clone());
        }
        self.name = Some(name.clone());
        config::save(&self.path, &self.config)?;
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Fingerprint;
    use clap::Parser as _;

    fn open(dir: &tempfile::TempDir, line: &str) -> Result<Session, Failure> {
        let config = dir.path().join("config.toml");
        let arguments =
            ["ubmcctl", "--config", config.to_str().unwrap()].into_iter().chain(line.split_whitespace());
        Session::open(&Cli::try_parse_from(arguments).unwrap().global)
    }

    fn known() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let lab = Context {
            server: "https://lab".into(),
            user: Some("admin".into()),
            token: Some("t".into()),
            session: Some("s".into()),
            fingerprint: Some(Fingerprint([1; 32])),
            ca: None,
        };
        let config = Config { current: Some("lab".into()), contexts: [("lab".to_owned(), lab)].into() };
        config::save(&dir.path().join("config.toml"), &config).unwrap();
        dir
    }

    #[test]
    fn the_current_context_is_used_with_its_pin_and_token() {
        let session = open(&known(), "host list").unwrap();
        assert_eq!(session.context.token.as_deref(), Some("t"));
        assert_eq!(session.trust(), Trust::Pin(Fingerprint([1; 32])));
    }

    #[test]
    fn a_token_is_never_sent_to_another_server_or_for_another_user() {
        let dir = known();
        for line in
            ["host list --server other", "host list --context lab --server other", "host list --user op"]
        {
            let session = open(&dir, line).unwrap();
            assert_eq!((session.context.token, session.context.session), (None, None), "{line}");
        }
        let other = open(&dir, "host list --context lab --server other").unwrap();
        assert_eq!(other.trust(), Trust::System);
        let same = open(&dir, "host list --context lab --server https://lab:443").unwrap();
        assert_eq!(same.context.token.as_deref(), Some("t"));
    }

    #[test]
    fn no_bmc_and_no_such_context_are_usage_errors() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(open(&empty, "host list").err().unwrap().exit_code(), 2);
        let failure = open(&known(), "host list --context x").err().unwrap();
        assert!(failure.to_string().contains("known: lab"), "{failure}");
    }

    #[test]
    fn arguments_choose_what_is_trusted() {
        let dir = known();
        assert_eq!(open(&dir, "host list --insecure").unwrap().trust(), Trust::Insecure);
        assert_eq!(open(&dir, "host list --ca f").unwrap().trust(), Trust::Ca("f".into()));
        let pin = format!("host list --fingerprint {}", Fingerprint([2; 32]));
        assert_eq!(open(&dir, &pin).unwrap().trust(), Trust::Pin(Fingerprint([2; 32])));
    }

    #[test]
    fn what_is_remembered_becomes_current_when_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = open(&dir, "login --server https://[fd00::1]:8443").unwrap();
        assert_eq!(session.remember().unwrap(), "fd00__1");
        assert_eq!(config::load(&session.path).unwrap().current.as_deref(), Some("fd00__1"));
        let mut again = open(&dir, "login --server https://[fd00::1]:8443").unwrap();
        assert_eq!(again.remember().unwrap(), "fd00__1");
    }
}
