//! Contexts, logging in and out.

use schema::rpc::{session_service, user_service};
use schema::v1alpha1::{ChangePasswordRequest, CreateSessionRequest, DeleteSessionRequest};

use super::Session;
use crate::cli::{ContextCommand, Global, Login};
use crate::client::{Client, Credential, Endpoint, Fingerprint, Trust};
use crate::config::{self, Context};
use crate::failure::{Code, Failure};
use crate::output::{Format, Output, Table, note};
use crate::prompt;

pub(crate) async fn run(global: &Global, command: ContextCommand, output: Output) -> Result<(), Failure> {
    let path = config::path(global.config.as_deref())?;
    let mut config = config::load(&path)?;
    let missing = |name: &str| Failure::Usage(format!("there is no context `{name}`"));
    match command {
        ContextCommand::Add { name, trust, yes, replace } => {
            config::check_name(&name)?;
            let old = config.contexts.get(&name);
            if old.is_some() && !replace {
                return Err(Failure::Usage(format!(
                    "there is a context `{name}` already; --replace changes it"
                )));
            }
            let server = match (&global.server, old) {
                (Some(server), _) => Endpoint::parse(server)?.url(),
                (None, Some(old)) => old.server.clone(),
                (None, None) => {
                    return Err(Failure::Usage("which BMC? Name it with --server https://…".into()));
                }
            };
            let mut context = Context {
                server,
                user: global.user.clone().or_else(|| old.and_then(|old| old.user.clone())),
                ca: global.ca.as_ref().map(std::path::absolute).transpose()?,
                fingerprint: global.fingerprint,
                ..Context::default()
            };
            if trust {
                let found = show(&Endpoint::parse(&context.server)?, global).await?;
                if !yes && !confirm(&context.server, &found).await? {
                    return Err(Failure::Usage(format!(
                        "not pinned. Compare the fingerprint and give it: --fingerprint {found}"
                    )));
                }
                context.fingerprint = Some(found);
            }
            config.contexts.insert(name.clone(), context);
            if config.current.is_none() {
                config.current = Some(name.clone());
            }
            config::save(&path, &config)?;
            note(&format!("context {name} kept; next:  ubmcctl --context {name} login"));
            Ok(())
        }
        ContextCommand::Use { name } => {
            if !config.contexts.contains_key(&name) {
                return Err(missing(&name));
            }
            config.current = Some(name);
            config::save(&path, &config)
        }
        ContextCommand::Rm { name } => {
            config.contexts.remove(&name).ok_or_else(|| missing(&name))?;
            if config.current.as_ref() == Some(&name) {
                config.current = None;
            }
            config::save(&path, &config)
        }
        ContextCommand::List => list(&config, output),
    }
}

/// What may be shown of the contexts: not the tokens.
fn list(config: &config::Config, output: Output) -> Result<(), Failure> {
    let trust = |context: &Context| match (&context.fingerprint, &context.ca) {
        (Some(pin), _) => pin.to_string(),
        (None, Some(ca)) => format!("CA {}", ca.display()),
        (None, None) => "CAs of this machine".to_owned(),
    };
    if output.format == Format::Json {
        let contexts: Vec<_> = config
            .contexts
            .iter()
            .map(|(name, context)| {
                serde_json::json!({
                    "name": name, "current": config.current.as_ref() == Some(name), "server": context.server,
                    "user": context.user, "loggedIn": context.token.is_some(), "trust": trust(context)
                })
            })
            .collect();
        return output.value(&serde_json::json!({"contexts": contexts}));
    }
    let mut table = Table::new(&["", "NAME", "SERVER", "USER", "LOGGED IN", "TRUST"]);
    for (name, context) in &config.contexts {
        let current = if config.current.as_ref() == Some(name) { "*" } else { " " };
        table.row([
            current.into(),
            name.clone(),
            context.server.clone(),
            context.user.clone().unwrap_or_default(),
            if context.token.is_some() { "yes" } else { "no" }.into(),
            trust(context),
        ]);
    }
    Ok(table.write(&mut std::io::stdout().lock(), output.paint)?)
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
    // The certificate comes before the question for the password.
    if let Err(failure) = session.client_with(&Credential::None)?.fingerprint().await {
        let Failure::Untrusted { fingerprint, .. } = &failure else { return Err(failure) };
        let Ok(found) = fingerprint.parse::<Fingerprint>() else { return Err(failure) };
        if !confirm(&session.context.server, &found).await? {
            return Err(failure);
        }
        session.context.fingerprint = Some(found);
        session.context.ca = None;
    }
    let user = match &session.context.user {
        Some(user) => user.clone(),
        None => prompt::ask(&format!("Account on {}: ", session.context.server)).await?,
    };
    let password = session.password(&user).await?;
    let request =
        CreateSessionRequest { username: user.clone(), password: password.clone(), ..Default::default() };
    let reply =
        session.client_with(&Credential::None)?.call(session_service::CREATE_SESSION, &request).await?;
    let opened = reply.session.clone().unwrap_or_default();
    session.context.user = Some(user.clone());
    session.context.token = Some(reply.token);
    session.context.session = Some(opened.id.clone());
    let name = session.remember()?;
    if opened.password_change_required {
        if let Some(path) = &login.new_password_file {
            let change = ChangePasswordRequest {
                id: user.clone(),
                current_password: password,
                new_password: prompt::secret_from(path)?,
            };
            session.client().await?.call(user_service::CHANGE_PASSWORD, &change).await?;
            note("password changed");
        } else {
            note("this password must be changed before anything else:  ubmcctl user passwd");
        }
    }
    // The reply as JSON would show the token; the session tells as much.
    output.line(&opened, || {
        format!("logged in to {} as {user} ({}), context {name}", session.context.server, opened.role)
    })
}

pub(crate) async fn logout(mut session: Session, output: Output) -> Result<(), Failure> {
    let (Some(name), Some(token)) = (session.name.clone(), session.context.token.clone()) else {
        return Err(Failure::Usage("there is no session to end".into()));
    };
    let id = session.context.session.clone().unwrap_or_default();
    let client = session.client_with(&Credential::Token(token))?;
    let ended = client.call(session_service::DELETE_SESSION, &DeleteSessionRequest { id }).await;
    match ended {
        // A session that has ended by itself is as good.
        Err(Failure::Status(status)) if matches!(status.code, Code::Unauthenticated | Code::NotFound) => {}
        Err(failure) => return Err(failure),
        Ok(_) => {}
    }
    session.context.token = None;
    session.context.session = None;
    session.remember()?;
    match output.format {
        Format::Json => output.value(&serde_json::json!({})),
        Format::Table => output.text(&format!("logged out of {name}")),
    }
}
