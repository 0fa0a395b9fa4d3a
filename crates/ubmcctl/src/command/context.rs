//! Contexts, logging in and out.

use std::path::Path;

use schema::rpc::{session_service, user_service};
use schema::v1alpha1::{ChangePasswordRequest, CreateSessionRequest, DeleteSessionRequest};

use super::{Remembered, Session};
use crate::cli::{ContextCommand, Global, Login};
use crate::client::{Client, Credential, Endpoint, Fingerprint, Trust};
use crate::config::{self, Config, Context};
use crate::failure::{Code, Failure};
use crate::output::{Card, Format, Output, Table, note};
use crate::prompt;

pub(crate) async fn run(global: &Global, command: ContextCommand, output: Output) -> Result<(), Failure> {
    let path = config::path(global.config.as_deref())?;
    match command {
        ContextCommand::Add { name, trust, yes, replace } => {
            add(global, &path, Add { name, trust, yes, replace }).await
        }
        ContextCommand::Use { name } => {
            let server = config::update(&path, |config| {
                let server = find(config, &name)?.server.clone();
                config.current = Some(name.clone());
                Ok(server)
            })?;
            note(&format!("context {name} is the current one: {server}"));
            Ok(())
        }
        ContextCommand::Rm { name } => {
            let gone = config::update(&path, |config| {
                find(config, &name)?;
                if config.current.as_ref() == Some(&name) {
                    config.current = None;
                }
                Ok(config.contexts.remove(&name).unwrap_or_default())
            })?;
            if gone.token.is_some() {
                note("its session on the BMC goes on until it expires; next time log out first");
            }
            Ok(())
        }
        ContextCommand::List => list(&config::load(&path)?, output),
        ContextCommand::Get { name } => {
            let config = config::load(&path)?;
            let name = name
                .or_else(|| global.context.clone())
                .or_else(|| config.current.clone())
                .ok_or_else(|| {
                    Failure::Usage(
                        "no context is the current one: name it, or  ubmcctl context use NAME".into(),
                    )
                })?;
            let context = find(&config, &name)?;
            if output.format == Format::Json {
                return output.value(&json(&config, &name, context));
            }
            let mut card = Card::default();
            card.line("Name", name.clone())
                .line("Current", if config.current.as_ref() == Some(&name) { "yes" } else { "no" })
                .line("Server", context.server.clone())
                .line("User", context.user.clone().unwrap_or_default())
                .line("Login", if context.token.is_some() { "yes" } else { "no" })
                .line("Trust", trusts(context))
                .line("File", path.display().to_string());
            Ok(card.write(&mut std::io::stdout().lock(), output.paint)?)
        }
    }
}

fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Context, Failure> {
    config.contexts.get(name).ok_or_else(|| super::no_context(config, name))
}

struct Add {
    name: String,
    trust: bool,
    yes: bool,
    replace: bool,
}

async fn add(global: &Global, path: &Path, add: Add) -> Result<(), Failure> {
    let Add { name, trust, yes, replace } = add;
    config::check_name(&name)?;
    // What it is changed to, from what it was: asked for once without the lock, as the network may take its time.
    let change = |config: &Config| {
        let old = config.contexts.get(&name);
        if old.is_some() && !replace {
            return Err(Failure::Usage(format!("there is a context `{name}` already; --replace changes it")));
        }
        let server = match (&global.server, old) {
            (Some(server), _) => Endpoint::parse(server)?.url(),
            (None, Some(old)) => old.server.clone(),
            (None, None) => return Err(Failure::Usage("which BMC? Name it with --server https://…".into())),
        };
        let mut context = Context {
            user: global.user.clone().or_else(|| old.and_then(|old| old.user.clone())),
            ca: global.ca.as_ref().map(std::path::absolute).transpose()?,
            fingerprint: global.fingerprint,
            server,
            ..Context::default()
        };
        // What is trusted is dropped only for something else, or with the BMC it was of.
        if let Some(old) = old.filter(|old| old.server == context.server)
            && context.ca.is_none()
            && context.fingerprint.is_none()
            && !trust
        {
            context.ca.clone_from(&old.ca);
            context.fingerprint = old.fingerprint;
        }
        Ok(context)
    };
    let mut pinned = None;
    if trust {
        let server = change(&config::load(path)?)?.server;
        let found = show(&Endpoint::parse(&server)?, global).await?;
        if !yes && !confirm(&server, &found).await? {
            return Err(Failure::Usage(format!(
                "not pinned. Compare the fingerprint and give it: --fingerprint {found}"
            )));
        }
        pinned = Some((server, found));
    }
    let (first, trusts_its_own) = config::update(path, |config| {
        let mut context = change(config)?;
        if let Some((server, found)) = pinned {
            if context.server != server {
                return Err(Failure::Usage(format!("context `{name}` was changed meanwhile; try again")));
            }
            context.fingerprint = Some(found);
        }
        let trusts_its_own = context.fingerprint.is_some() || context.ca.is_some();
        config.contexts.insert(name.clone(), context);
        let first = config.current.is_none();
        config.current.get_or_insert_with(|| name.clone());
        Ok((first, trusts_its_own))
    })?;
    tell_unkept(global, &name, trusts_its_own);
    let current = if first { ", and is the current one" } else { "" };
    note(&format!("context {name} kept{current}; next:  ubmcctl --context {name} login"));
    Ok(())
}

/// What `--insecure` accepts is accepted for one command: the next one would fail, and must not come as a surprise.
fn tell_unkept(global: &Global, name: &str, trusts_its_own: bool) {
    if !global.insecure {
        return;
    }
    note(&match trusts_its_own {
        true => format!("--insecure is not kept: context {name} goes on trusting what it trusts"),
        false => format!(
            "--insecure is not kept: without it the next command asks for a trusted certificate. Pin this one:  ubmcctl context add {name} --replace --trust"
        ),
    });
}

fn trusts(context: &Context) -> String {
    match (&context.fingerprint, &context.ca) {
        (Some(pin), _) => pin.to_string(),
        (None, Some(ca)) => format!("CA {}", ca.display()),
        (None, None) => "CAs of this machine".to_owned(),
    }
}

/// What may be shown of a context: not the token.
fn json(config: &Config, name: &str, context: &Context) -> serde_json::Value {
    serde_json::json!({
        "name": name, "current": config.current.as_deref() == Some(name), "server": context.server,
        "user": context.user, "loggedIn": context.token.is_some(), "trust": trusts(context)
    })
}

fn list(config: &Config, output: Output) -> Result<(), Failure> {
    if output.format == Format::Json {
        let contexts: Vec<_> =
            config.contexts.iter().map(|(name, context)| json(config, name, context)).collect();
        return output.value(&serde_json::json!({"contexts": contexts}));
    }
    let mut table = Table::new(&["", "NAME", "SERVER", "USER", "LOGGED IN", "TRUST"])
        .empty("no contexts:  ubmcctl context add NAME --server https://…");
    for (name, context) in &config.contexts {
        let current = if config.current.as_ref() == Some(name) { "*" } else { " " };
        let trust = match (&context.fingerprint, &context.ca) {
            (Some(pin), _) => pin.to_string().chars().take(15).chain(['…']).collect(),
            (None, Some(_)) => "a CA file".to_owned(),
            (None, None) => "this machine's CAs".to_owned(),
        };
        table.row([
            current.into(),
            name.clone(),
            context.server.clone(),
            context.user.clone().unwrap_or_default(),
            if context.token.is_some() { "yes" } else { "no" }.into(),
            trust,
        ]);
    }
    output.table(&table)
}

/// The certificate the server shows now.
async fn show(endpoint: &Endpoint, global: &Global) -> Result<Fingerprint, Failure> {
    // No credential goes over this connection; its only purpose is the certificate.
    Client::new(endpoint.clone(), &Trust::Insecure, &Credential::None, global.timeout)?.fingerprint().await
}

async fn confirm(server: &str, found: &Fingerprint) -> Result<bool, Failure> {
    prompt::confirm(&format!(
        "{server} shows a certificate with the fingerprint\n  {found}\nIs this your BMC?"
    ))
    .await
}

pub(crate) async fn login(mut session: Session, login: Login, output: Output) -> Result<(), Failure> {
    // What cannot be kept is refused before anything is sent.
    if let Some(user) = &session.context.user {
        session.place(&session.config, user)?;
    }
    session.trust_as_known();
    // The certificate comes before the question for the password.
    if let Err(failure) = session.client_with(&Credential::None)?.fingerprint().await {
        let Failure::Untrusted { fingerprint, .. } = &failure else { return Err(failure) };
        let Ok(found) = fingerprint.parse::<Fingerprint>() else { return Err(failure) };
        // Where a CA is what is trusted, a certificate it has not signed is no question.
        if session.context.ca.is_some() || !confirm(&session.context.server, &found).await? {
            return Err(failure);
        }
        session.context.fingerprint = Some(found);
    }
    let user = match &session.context.user {
        Some(user) => user.clone(),
        None => prompt::ask(&format!("Account on {}: ", session.context.server)).await?,
    };
    session.place(&session.config, &user)?;
    let password = session.password(&user).await?;
    let new_password = match &login.new_password_file {
        Some(path) => Some(prompt::secret_from(path).await?),
        None => None,
    };
    let request =
        CreateSessionRequest { username: user.clone(), password: password.clone(), ..Default::default() };
    let reply =
        session.client_with(&Credential::None)?.call(session_service::CREATE_SESSION, &request).await?;
    let mut opened = reply.session.clone().unwrap_or_default();
    let client = session.client_with(&Credential::Token(reply.token.clone()))?;
    // Kept first: a changed password ends the account's other sessions, and what runs in this context in other shells then looks for a new one.
    let kept = match session.remember(&user, &reply.token, &opened.id) {
        Ok(kept) => kept,
        Err(failure) => return abandon(&client, &opened, failure).await,
    };
    if let Some(new_password) = new_password {
        // The change ends the account's other sessions, so it has to come from this one.
        let change = ChangePasswordRequest { id: user.clone(), current_password: password, new_password };
        if let Err(failure) = client.call(user_service::CHANGE_PASSWORD, &change).await {
            // Ended first: whatever becomes of the file, nobody is left with a session that was not asked for.
            let failed = abandon(&client, &opened, failure).await;
            if let Err(failure) = session.take_back(kept) {
                note(&format!("the session was ended, and the contexts may still name it: {failure}"));
            }
            return failed;
        }
        opened.password_change_required = false;
        note("password changed");
    }
    let Remembered { name, before, replaced, .. } = kept;
    if let Some((token, id)) = replaced {
        // Nobody has its token any more. With a changed password it has ended already.
        let client = session.client_with(&Credential::Token(token))?;
        match client.call(session_service::DELETE_SESSION, &DeleteSessionRequest { id }).await {
            Ok(_) => {}
            Err(Failure::Status(status)) if matches!(status.code, Code::Unauthenticated | Code::NotFound) => {
            }
            Err(failure) => {
                note(&format!("the session that was kept before goes on until it expires: {failure}"));
            }
        }
    }
    let trusts_its_own = session.context.fingerprint.is_some() || session.context.ca.is_some();
    tell_unkept(&session.global, &name, trusts_its_own);
    if opened.password_change_required {
        note("this password must be changed before anything else:  ubmcctl user passwd");
    }
    match before {
        Some(before) if before != name => {
            note(&format!("context {name} is the current one now, and {before} is not any more"));
        }
        _ => {}
    }
    // The reply as JSON would show the token; the session tells as much.
    output.line(&opened, || {
        format!("logged in to {} as {user} ({}), context {name}", session.context.server, opened.role)
    })
}

/// Ends a session whose token nobody keeps, and fails; if it stays, it expires.
async fn abandon(
    client: &Client,
    opened: &schema::v1alpha1::Session,
    failure: Failure,
) -> Result<(), Failure> {
    let request = DeleteSessionRequest { id: opened.id.clone() };
    let _expires = client.call(session_service::DELETE_SESSION, &request).await;
    Err(failure)
}

pub(crate) async fn logout(session: Session, output: Output) -> Result<(), Failure> {
    let (Some(name), Some(token), Some(id)) =
        (session.name.clone(), session.context.token.clone(), session.context.session.clone())
    else {
        return Err(Failure::Usage("there is no session to end".into()));
    };
    let client = session.client_with(&Credential::Token(token))?;
    let ended = client.call(session_service::DELETE_SESSION, &DeleteSessionRequest { id: id.clone() }).await;
    match ended {
        // A session that has ended by itself is as good.
        Err(Failure::Status(status)) if matches!(status.code, Code::Unauthenticated | Code::NotFound) => {}
        Err(failure) => return Err(failure),
        Ok(_) => {}
    }
    session.forget(&id)?;
    match output.format {
        Format::Json => output.value(&serde_json::json!({})),
        Format::Table | Format::Csv => {
            output.text(&format!("logged out of {name} ({})", session.context.server))
        }
    }
}
