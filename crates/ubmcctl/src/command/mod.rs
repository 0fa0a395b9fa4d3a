//! Carries out a command.

mod account;
mod call;
mod certificate;
mod console;
mod context;
mod event;
mod fleet;
mod inventory;
mod ipmi;
mod kvm;
mod kvm_vnc;
mod led;
mod media;
mod network;
mod power;
mod redfish;
mod redirect;
mod role;
mod sensor;
mod sim;
mod ssh;
mod system;
mod thermal;
mod vnc;

use std::io::Write as _;
use std::path::PathBuf;

use clap::CommandFactory as _;

use crate::cli::{Cli, Command, Global, Shell};
use crate::client::{Client, Credential, Endpoint, Renewal, Trust};
use crate::config::{self, Config, Context};
use crate::failure::Failure;
use crate::listing;
use crate::output::{Format, Output, note};
use crate::prompt;

/// Runs the command to its end.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output::new(cli.global.output);
    let session = || Session::open(&cli.global);
    match cli.command {
        Command::Context(command) => context::run(&cli.global, command, output).await,
        Command::Login(login) => context::login(session()?, login, output).await,
        Command::Logout => context::logout(session()?, output).await,
        Command::Host(command) => Box::pin(power::host(session()?, command, output)).await,
        Command::Chassis(command) => power::chassis(session()?, command, output).await,
        Command::Led(command) => led::run(session()?, command, output).await,
        Command::Console(command) => Box::pin(console::run(session()?, command, output)).await,
        Command::Kvm(command) => kvm::run(session()?, command, output).await,
        Command::Media(command) => Box::pin(media::run(session()?, command, output)).await,
        Command::Bmc(command) => system::bmc(session()?, command, output).await,
        Command::Certificate(command) => certificate::run(session()?, command, output).await,
        Command::Network(command) => network::run(session()?, command, output).await,
        Command::Ipmi(command) => ipmi::run(session()?, command, output).await,
        Command::Ssh(command) => ssh::run(session()?, command, output).await,
        Command::Vnc(command) => vnc::run(session()?, command, output).await,
        Command::Redirect(command) => redirect::run(session()?, command, output).await,
        Command::User(command) => account::user(session()?, command, output).await,
        Command::Role(command) => role::run(session()?, command, output).await,
        Command::Listing(command) => listing::run(&session()?.client().await?, command, output).await,
        Command::Session(command) => account::session(session()?, command, output).await,
        Command::Lockout(command) => account::lockout(session()?, command, output).await,
        Command::Inventory(command) => inventory::run(session()?, command, output).await,
        Command::Event(command) => event::run(session()?, command, output).await,
        Command::Sensor(command) => sensor::run(session()?, command, output).await,
        Command::Thermal(command) => Box::pin(thermal::run(session()?, command, output)).await,
        Command::Sim(sim) => sim::run(sim, output).await,
        Command::System(command) => system::system(session()?, command, output).await,
        Command::Fleet(fleet) => fleet::run(&cli.global, fleet, output).await,
        Command::Call(call) => call::run(session()?, call, output).await,
        Command::Redfish(command) => redfish::run(session()?, command, output).await,
        Command::Version => version(output),
        Command::Completion { shell } => completion(shell),
    }
}

fn version(output: Output) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match output.format {
        Format::Json => output.value(&serde_json::json!({"version": version})),
        Format::Table | Format::Csv => output.text(&format!("ubmcctl {version}")),
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

fn no_context(config: &Config, name: &str) -> Failure {
    let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
    let known = if known.is_empty() {
        "there are none:  ubmcctl context add NAME --server https://…".to_owned()
    } else {
        format!("known: {}", known.join(", "))
    };
    Failure::Usage(format!("there is no context `{name}`; {known}"))
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

/// What came of keeping a session.
pub(crate) struct Remembered {
    /// The context it is kept in, the current one now.
    pub(crate) name: String,
    /// Which one was current before.
    pub(crate) before: Option<String>,
    /// Token and id of the session that was kept there before, when no context has it any more.
    pub(crate) replaced: Option<(String, String)>,
    /// The context as it was before; `None` where there was none.
    was: Option<Context>,
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
            Some(name) => config.contexts.get(name).cloned().ok_or_else(|| no_context(&config, name))?,
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
        context.server = Endpoint::parse(&context.server)?.url();
        if let Some(user) = &global.user {
            if context.user.as_ref() != Some(user) {
                context.token = None;
                context.session = None;
            }
            context.user = Some(user.clone());
        }
        if let Some(ca) = &global.ca {
            context.ca = Some(std::path::absolute(ca)?);
            context.fingerprint = None;
        }
        if let Some(fingerprint) = global.fingerprint {
            context.fingerprint = Some(fingerprint);
            context.ca = None;
        }
        Ok(Self { global: global.clone(), path, config, name, context })
    }

    /// Trusts a server that was named alone as the contexts of it do: what is pinned once is not asked for again.
    pub(crate) fn trust_as_known(&mut self) {
        if self.context.fingerprint.is_some() || self.context.ca.is_some() {
            return;
        }
        let known = self
            .config
            .contexts
            .values()
            .find(|known| self.is_of(known) && (known.fingerprint.is_some() || known.ca.is_some()));
        if let Some(known) = known {
            self.context.fingerprint = known.fingerprint;
            self.context.ca.clone_from(&known.ca);
        }
    }

    /// Whether a context is of the BMC we talk to.
    fn is_of(&self, known: &Context) -> bool {
        Endpoint::parse(&known.server).is_ok_and(|known| known.url() == self.context.server)
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
        // A pin of the command line is not the context's to change.
        let pinned = self.name.clone().filter(|_| self.global.fingerprint.is_none());
        Ok(Client::new(self.endpoint()?, &self.trust(), credential, self.global.timeout)?.of_context(pinned))
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
        let client = self.client_with(&credential)?;
        Ok(match (self.renewal(), credential) {
            (Some(renewal), Credential::Token(_)) => client.renewed_by(renewal),
            _ => client,
        })
    }

    /// Reads the token of the context anew, as long as the context is of the same BMC, account and trust as when we began: no token goes to
    /// another server or acts for another account.
    fn renewal(&self) -> Option<Renewal> {
        let name = self.name.clone()?;
        let identity = |context: Context| Context { token: None, session: None, ..context };
        let known = identity(self.config.contexts.get(&name)?.clone());
        let path = self.path.clone();
        Some(Box::new(move || {
            let now = config::load(&path).ok()?.contexts.remove(&name)?;
            let token = now.token.clone()?;
            (identity(now) == known).then_some(token)
        }))
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
            Some(path) => prompt::secret_from(path).await,
            None => prompt::secret(&format!("Password of {user} on {}: ", self.context.server)).await,
        }
    }

    /// A client that is about to change something: says on which BMC, and as whom, before it does.
    pub(crate) async fn changing(&self) -> Result<Client, Failure> {
        let client = self.client().await?;
        self.tell();
        Ok(client)
    }

    /// On which BMC we act, and as whom, to the person at the terminal.
    pub(crate) fn tell(&self) {
        let named = self.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let user = self.context.user.as_ref().map(|user| format!(" as {user}")).unwrap_or_default();
        note(&format!("BMC: {named}{}{user}", self.context.server));
    }

    /// The context a login of `user` is kept in: the one that was named, else that of the same BMC and account, else a new one. What another
    /// account or another BMC is kept in is never touched, and no pin is replaced by another.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the context that was named is of something else, or pins another certificate than the one given.
    pub(crate) fn place(&self, config: &Config, user: &str) -> Result<String, Failure> {
        let server = &self.context.server;
        let of = |context: &Context| self.is_of(context);
        if let Some((name, known)) = self.named(config) {
            if !of(known) {
                return Err(Failure::Usage(format!(
                    "context `{name}` is {}, not {server}: leave --server out, or log in without --context",
                    known.server
                )));
            }
            if let Some(other) = known.user.as_ref().filter(|other| *other != user) {
                return Err(Failure::Usage(format!(
                    "context `{name}` is of the account {other}. For {user} make another one:  ubmcctl context add NAME --server {server} --user {user}"
                )));
            }
            self.keeps_trust(name, known)?;
            return Ok(name.to_owned());
        }
        let ours = |name: &String| {
            config.contexts.get(name).is_some_and(|known| of(known) && known.user.as_deref() == Some(user))
        };
        let open =
            |name: &String| config.contexts.get(name).is_some_and(|known| of(known) && known.user.is_none());
        let first = |fits: &dyn Fn(&String) -> bool| {
            let current = self.name.iter().chain(&config.current);
            current.chain(config.contexts.keys()).find(|name| fits(name)).cloned()
        };
        if let Some(name) = first(&ours).or_else(|| first(&open)) {
            if let Some(known) = config.contexts.get(&name) {
                self.keeps_trust(&name, known)?;
            }
            return Ok(name);
        }
        let plain = self.endpoint()?.name();
        let word = |text: String| -> String {
            let text = text.trim_start_matches('-');
            // Room for a number behind it.
            text.chars()
                .map(|c| if config::named_with(c) { c } else { '_' })
                .take(config::MAX_NAME - 4)
                .collect()
        };
        let (plain, with_user) = (word(plain.clone()), word(format!("{user}@{plain}")));
        let more = (2..1_000).map(|number| format!("{with_user}-{number}"));
        [plain, with_user.clone()]
            .into_iter()
            .chain(more)
            .find(|name| !config.contexts.contains_key(name))
            .ok_or_else(|| Failure::Usage("name the context:  --context NAME".into()))
    }

    /// The context that was named on the command line or in the environment.
    fn named<'a>(&'a self, config: &'a Config) -> Option<(&'a str, &'a Context)> {
        let name = self.global.context.as_deref()?;
        Some((name, config.contexts.get(name)?))
    }

    fn keeps_trust(&self, name: &str, known: &Context) -> Result<(), Failure> {
        let given = match (self.global.fingerprint, &self.global.ca) {
            (Some(fingerprint), _) => format!("--fingerprint {fingerprint}"),
            (None, Some(ca)) => format!("--ca {}", ca.display()),
            (None, None) => return Ok(()),
        };
        let kept = match (&known.fingerprint, &known.ca) {
            (Some(pin), _) if self.global.fingerprint != Some(*pin) => format!("the certificate {pin}"),
            (None, Some(ca)) if self.context.ca.as_ref() != Some(ca) => format!("the CA in {}", ca.display()),
            _ => return Ok(()),
        };
        Err(Failure::Usage(format!(
            "context `{name}` trusts {kept}, and a login does not change that. If you know that it was replaced:  ubmcctl context add {name} --replace {given}"
        )))
    }

    /// Keeps the session that was opened, and makes its context the current one.
    pub(crate) fn remember(&mut self, user: &str, token: &str, id: &str) -> Result<Remembered, Failure> {
        let (remembered, context) = config::update(&self.path, |config| {
            let name = self.place(config, user)?;
            config::check_name(&name)?;
            let was = config.contexts.get(&name).cloned();
            let context = config.contexts.entry(name.clone()).or_default();
            context.server.clone_from(&self.context.server);
            if context.fingerprint.is_none() && context.ca.is_none() && !self.global.insecure {
                context.fingerprint = self.context.fingerprint;
                context.ca.clone_from(&self.context.ca);
            }
            context.user = Some(user.to_owned());
            let replaced =
                context.token.replace(token.to_owned()).zip(context.session.replace(id.to_owned()));
            let context = context.clone();
            let held = |session: &str| {
                let of = |context: &Context| context.session.as_deref() == Some(session);
                config.contexts.values().any(|context| of(context) && self.is_of(context))
            };
            let replaced = replaced.filter(|(_, session)| !held(session));
            let before = config.current.replace(name.clone());
            Ok((Remembered { name, before, replaced, was }, context))
        })?;
        self.name = Some(remembered.name.clone());
        self.context = context;
        Ok(remembered)
    }

    /// Takes [`Session::remember`] back, as far as nobody else has changed it since.
    pub(crate) fn take_back(&self, remembered: Remembered) -> Result<(), Failure> {
        let Remembered { name, before, was, .. } = remembered;
        config::update(&self.path, |config| {
            let kept = config.contexts.get(&name).and_then(|context| context.session.as_ref());
            if kept != self.context.session.as_ref() {
                return Ok(());
            }
            match was {
                Some(was) => config.contexts.insert(name.clone(), was),
                None => config.contexts.remove(&name),
            };
            if config.current.as_ref() == Some(&name) {
                config.current = before;
            }
            Ok(())
        })
    }

    /// Forgets this token wherever it is kept.
    pub(crate) fn forget(&self, session: &str) -> Result<(), Failure> {
        let of = |context: &Context| context.session.as_deref() == Some(session) && self.is_of(context);
        if !self.config.contexts.values().any(of) {
            return Ok(());
        }
        config::update(&self.path, |config| {
            for context in config.contexts.values_mut().filter(|context| of(context)) {
                (context.token, context.session) = (None, None);
            }
            Ok(())
        })
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
        config::update(&dir.path().join("config.toml"), |config| {
            config.current = Some("lab".into());
            config.contexts.insert("lab".into(), lab);
            Ok(())
        })
        .unwrap();
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
    fn a_token_is_renewed_by_one_of_the_same_bmc_account_and_trust_only() {
        let dir = known();
        let renewal = open(&dir, "event watch").unwrap().renewal().unwrap();
        let change = |change: fn(&mut Context)| {
            config::update(&dir.path().join("config.toml"), |config| {
                let lab = config.contexts.get_mut("lab").unwrap();
                lab.token = Some("t2".into());
                change(lab);
                Ok(())
            })
            .unwrap();
            let token = renewal();
            config::update(&dir.path().join("config.toml"), |config| {
                *config = config::load(&known().path().join("config.toml"))?;
                Ok(())
            })
            .unwrap();
            token
        };
        assert_eq!(change(|_| {}).as_deref(), Some("t2"));
        assert_eq!(change(|lab| lab.token = None), None, "a logout");
        assert_eq!(change(|lab| lab.user = Some("op".into())), None);
        assert_eq!(change(|lab| lab.server = "https://other".into()), None);
        assert_eq!(change(|lab| lab.fingerprint = Some(Fingerprint([2; 32]))), None);
        std::fs::remove_file(dir.path().join("config.toml")).unwrap();
        assert_eq!(renewal(), None);
        assert!(open(&known(), "event watch --server https://lab").unwrap().renewal().is_none());
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
        assert_eq!(
            open(&dir, "host list --ca f").unwrap().trust(),
            Trust::Ca(std::path::absolute("f").unwrap()),
            "whatever the folder of the next command is"
        );
        let pin = format!("host list --fingerprint {}", Fingerprint([2; 32]));
        assert_eq!(open(&dir, &pin).unwrap().trust(), Trust::Pin(Fingerprint([2; 32])));
    }

    fn context(server: &str, user: &str) -> Context {
        Context {
            server: server.into(),
            user: Some(user.into()),
            token: Some(format!("token-{user}")),
            session: Some(format!("session-{user}")),
            fingerprint: Some(Fingerprint([1; 32])),
            ca: None,
        }
    }

    #[test]
    fn what_is_remembered_becomes_current_and_its_name_keeps_the_port() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = Vec::new();
        for line in [
            "login --server https://[fd00::1]:8443",
            "login --server https://[fd00::1]:8443",
            "login --server 10.0.0.7:8443",
            "login --server 10.0.0.7:8444",
            "login --server 10.0.0.7",
        ] {
            kept.push(open(&dir, line).unwrap().remember("admin", "t", "s").unwrap());
        }
        let names: Vec<&str> = kept.iter().map(|kept| kept.name.as_str()).collect();
        assert_eq!(names, ["fd00::1-8443", "fd00::1-8443", "10.0.0.7:8443", "10.0.0.7:8444", "10.0.0.7"]);
        assert_eq!(kept[0].before, None);
        assert_eq!(kept[2].before.as_deref(), Some("fd00::1-8443"));
        let config = config::load(&dir.path().join("config.toml")).unwrap();
        assert_eq!(config.current.as_deref(), Some("10.0.0.7"));
    }

    #[test]
    fn the_session_that_is_replaced_is_named_unless_a_context_still_has_it() {
        let dir = known();
        let first = open(&dir, "login").unwrap().remember("admin", "t2", "s2").unwrap();
        assert_eq!(first.replaced, Some(("t".to_owned(), "s".to_owned())));
        // The same session in another context, as a copy has it.
        config::update(&dir.path().join("config.toml"), |config| {
            let copy = config.contexts["lab"].clone();
            config.contexts.insert("copy".into(), copy);
            Ok(())
        })
        .unwrap();
        let second = open(&dir, "login --context lab").unwrap().remember("admin", "t3", "s3").unwrap();
        assert_eq!(second.replaced, None);
        let last = open(&dir, "login --context copy").unwrap().remember("admin", "t4", "s4").unwrap();
        assert_eq!(last.replaced, Some(("t2".to_owned(), "s2".to_owned())));
    }

    /// Whatever a login names, another account's or another BMC's context is as it was, and so is every pin.
    #[test]
    fn a_login_touches_the_context_of_its_bmc_and_account_and_no_other() {
        let servers = ["https://lab", "https://lab:8443", "https://other"];
        for trust in ["", "--insecure", "--fingerprint PIN", "--fingerprint OTHER"] {
            for server in ["", "lab", "https://lab:443/", "lab:8443", "new:1"] {
                for user in ["admin", "op", "ro"] {
                    for name in ["", "--context a", "--context b", "--context c"] {
                        let dir = tempfile::tempdir().unwrap();
                        let path = dir.path().join("config.toml");
                        let before = Config {
                            current: Some("c".into()),
                            contexts: [
                                ("a".to_owned(), context(servers[0], "admin")),
                                ("b".to_owned(), context(servers[0], "op")),
                                ("c".to_owned(), context(servers[1], "admin")),
                                ("d".to_owned(), context(servers[2], "admin")),
                            ]
                            .into(),
                            ..Config::default()
                        };
                        config::update(&path, |config| {
                            *config = before.clone();
                            Ok(())
                        })
                        .unwrap();
                        let server =
                            if server.is_empty() { String::new() } else { format!("--server {server}") };
                        let trust = trust
                            .replace("PIN", &Fingerprint([1; 32]).to_string())
                            .replace("OTHER", &Fingerprint([2; 32]).to_string());
                        let line = format!("login --user {user} {name} {server} {trust}");
                        let mut session = open(&dir, &line).unwrap();
                        let at = session.context.server.clone();
                        let kept = session.remember(user, "new", "n");
                        let after = config::load(&path).unwrap();
                        match kept {
                            Err(failure) => {
                                assert_eq!((failure.exit_code(), &after), (2, &before), "{line}");
                            }
                            Ok(Remembered { name, .. }) => {
                                let ours = &after.contexts[&name];
                                assert_eq!(
                                    (ours.server.as_str(), ours.user.as_deref()),
                                    (at.as_str(), Some(user)),
                                    "{line}"
                                );
                                assert_eq!(after.current.as_ref(), Some(&name), "{line}");
                                for (known, was) in &before.contexts {
                                    let now = &after.contexts[known];
                                    if *known == name {
                                        assert_eq!(now.fingerprint, was.fingerprint, "{line}");
                                        assert_eq!(
                                            (&now.server, &now.user),
                                            (&was.server, &was.user),
                                            "{line}"
                                        );
                                    } else {
                                        assert_eq!(now, was, "{line}");
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_forgotten_is_the_session_and_nothing_else() {
        let dir = known();
        let session = open(&dir, "logout").unwrap();
        session.forget("another").unwrap();
        assert_eq!(config::load(&session.path).unwrap(), session.config);
        session.forget("s").unwrap();
        let lab = config::load(&session.path).unwrap().contexts["lab"].clone();
        assert_eq!((lab.token, lab.session), (None, None));
        assert_eq!(lab.fingerprint, Some(Fingerprint([1; 32])));
    }
}
