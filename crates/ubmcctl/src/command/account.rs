//! Accounts, sessions, locks.

use prost_types::FieldMask;
use schema::rpc::{lockout_service, session_service, user_service};
use schema::v1alpha1::{
    AccountLockoutInfo, AccountPolicy, AccountType, ChangePasswordRequest, CreateUserRequest,
    DeleteLockoutRequest, DeleteSessionRequest, DeleteUserRequest, GetAccountPolicyRequest, GetUserRequest,
    ListLockoutsRequest, ListSessionsRequest, ListUsersRequest, LockoutScope, ResetPasswordRequest,
    UpdateAccountPolicyRequest, UpdateUserRequest, User,
};

use super::Session;
use crate::cli::{Account, LockoutCommand, SessionCommand, UserCommand};
use crate::failure::Failure;
use crate::output::{Card, Output, Table, note};
use crate::prompt;
use crate::text::{ago, enum_word, span, when};

fn state(user: &User) -> String {
    let locked = user.lockout_info.as_ref().is_some_and(|lockout| lockout.locked);
    match user.enabled {
        _ if locked => "locked",
        Some(false) => "disabled",
        _ => "enabled",
    }
    .to_owned()
}

/// When an account expires; an empty text is never.
fn end(text: &str) -> Result<Option<prost_types::Timestamp>, Failure> {
    let wrong = |_| Failure::Usage(format!("{text} is no time; one is 2027-01-31T18:00:00Z"));
    (!text.is_empty()).then(|| text.parse::<prost_types::Timestamp>().map_err(wrong)).transpose()
}

const TYPE: &str = "ACCOUNT_TYPE_";

/// What an account may be used for, in words.
fn types(user: &User) -> String {
    let words: Vec<String> = user.account_types().map(|kind| enum_word(kind.as_str_name(), TYPE)).collect();
    words.join(" ")
}

/// The numbers of types by their words, as [`types`] shows them. One at least: an account that is for nothing is disabled.
fn numbers(words: &[String]) -> Result<Vec<i32>, Failure> {
    let known = || {
        let kinds = (1..).map_while(|number| AccountType::try_from(number).ok());
        kinds.map(|kind| (i32::from(kind), enum_word(kind.as_str_name(), TYPE)))
    };
    let all = || known().map(|(_, name)| name).collect::<Vec<_>>().join(" ");
    // `HostConsole`, as Redfish writes it, is `host-console`.
    let letters = |word: &str| word.replace(['-', '_'], "").to_lowercase();
    let number = |word: &String| {
        let found = known().find(|(_, name)| letters(name) == letters(word));
        found.map(|(number, _)| number).ok_or_else(|| {
            Failure::Usage(format!("{word} is no type of account; those there are: {}", all()))
        })
    };
    let numbers: Vec<i32> =
        words.iter().filter(|word| !word.is_empty()).map(number).collect::<Result<_, _>>()?;
    if numbers.is_empty() {
        return Err(Failure::Usage(format!("give one type at least, of: {}", all())));
    }
    Ok(numbers)
}

/// What is asked of an account. Refused before it is said that something is changed, if nothing is.
fn update(
    mut user: User,
    account: Account,
    rename: Option<String>,
    (enable, disable, unlock): (bool, bool, bool),
) -> Result<UpdateUserRequest, Failure> {
    let mut paths = Vec::new();
    if let Some(role) = account.role {
        paths.push("role");
        user.role = role;
    }
    if let Some(text) = account.full_name {
        paths.push("full_name");
        user.full_name = (!text.is_empty()).then_some(text);
    }
    if let Some(text) = account.email {
        paths.push("email");
        user.email = (!text.is_empty()).then_some(text);
    }
    if let Some(may) = account.ipmi {
        paths.push("ipmi_access");
        user.ipmi_access = Some(may);
    }
    if let Some(types) = account.types {
        paths.push("account_types");
        user.account_types = numbers(&types)?;
    }
    if let Some(is_strict) = account.strict_types {
        paths.push("strict_account_types");
        user.strict_account_types = Some(is_strict);
    }
    if let Some(expires) = account.expires {
        paths.push("expires_at");
        user.expires_at = end(&expires)?;
    }
    if let Some(username) = rename {
        paths.push("username");
        user.username = username;
    }
    if enable || disable {
        paths.push("enabled");
        user.enabled = Some(enable);
    }
    if unlock {
        paths.push("lockout_info.locked");
        user.lockout_info = Some(AccountLockoutInfo::default());
    }
    if paths.is_empty() {
        return Err(Failure::Usage("nothing to change; see ubmcctl user update --help".into()));
    }
    let paths = paths.into_iter().map(str::to_owned).collect();
    Ok(UpdateUserRequest { user: Some(user), field_mask: Some(FieldMask { paths }), password: None })
}

/// What a password has to have.
fn length(policy: &AccountPolicy) -> String {
    let characters = format!("{} to {} characters", policy.min_password_length, policy.max_password_length);
    match policy.min_password_classes {
        0 | 1 => characters,
        kinds => format!("{characters} of {kinds} kinds"),
    }
}

fn policy(policy: &AccountPolicy) -> Card {
    let age = match policy.max_password_age_days {
        0 => "never expires".to_owned(),
        days => format!("expires after {days} days"),
    };
    let (first, longest) = (&policy.lockout_first_delay, &policy.lockout_max_delay);
    let delays = format!("{} at first, up to {}", span(first.as_ref()), span(longest.as_ref()));
    let mut card = Card::default();
    let history = match policy.password_history {
        0 => "another than the present one".to_owned(),
        former => format!("none of the last {former} before the present one, nor that"),
    };
    card.line("Password", length(policy))
        .line("Password age", age)
        .line("A new password", history)
        .line("Failed logins", format!("{} before the first delay", policy.lockout_threshold))
        .line("Delay", delays)
        .line("Forgotten after", span(policy.lockout_forget_after.as_ref()))
        .line("Idle session", span(policy.session_idle.as_ref()))
        .line("Session", span(policy.session_absolute.as_ref()));
    card
}

pub(crate) async fn user(session: Session, command: UserCommand, output: Output) -> Result<(), Failure> {
    match command {
        UserCommand::Passwd { name, new_password_file, generate, keep } => {
            return passwd(&session, name, new_password_file, generate, keep, output).await;
        }
        UserCommand::Create { name, account, new_password_file, must_change, disabled } => {
            let role = account.role.ok_or_else(|| {
                Failure::Usage(
                    "what may the account do? Give --role Administrator, Operator, ReadOnly or one that was made"
                        .into(),
                )
            })?;
            // Refused before a password is asked for.
            let account_types = account.types.as_deref().map(numbers).transpose()?.unwrap_or_default();
            let client = session.changing().await?;
            let password = match new_password_file {
                Some(path) => prompt::secret_from(&path).await?,
                None => prompt::new_secret(&name).await?,
            };
            let user = User {
                username: name,
                role,
                full_name: account.full_name,
                email: account.email,
                enabled: Some(!disabled),
                password_change_required: must_change,
                ipmi_access: account.ipmi,
                account_types,
                strict_account_types: account.strict_types,
                expires_at: account.expires.as_deref().map(end).transpose()?.flatten(),
                ..Default::default()
            };
            let request = CreateUserRequest { user: Some(user), password, dry_run: None };
            let reply = client.call(user_service::CREATE_USER, &request).await?;
            reply.warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
            return output.card(&reply, || card(&reply.user.clone().unwrap_or_default()));
        }
        UserCommand::Update { name, account, rename, enable, disable, unlock } => {
            let request =
                update(User { id: name, ..Default::default() }, account, rename, (enable, disable, unlock))?;
            let reply = session.changing().await?.call(user_service::UPDATE_USER, &request).await?;
            reply.warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
            return output.card(&reply, || card(&reply.user.clone().unwrap_or_default()));
        }
        _ => {}
    }
    let client = match command {
        UserCommand::List
        | UserCommand::Get { .. }
        | UserCommand::Policy {
            min_length: None,
            max_age_days: None,
            history: None,
            lockout_threshold: None,
            lockout_duration: None,
            lockout_forget_after: None,
            session_idle: None,
        } => session.client().await?,
        _ => session.changing().await?,
    };
    match command {
        UserCommand::List => {
            let mut reply = client.call(user_service::LIST_USERS, &ListUsersRequest::default()).await?;
            while let Some(page_token) = reply.next_page_token.take().filter(|token| !token.is_empty()) {
                let request = ListUsersRequest { page_token: Some(page_token), ..Default::default() };
                let more = client.call(user_service::LIST_USERS, &request).await?;
                if more.users.is_empty() {
                    break;
                }
                reply.users.extend(more.users);
                reply.next_page_token = more.next_page_token;
            }
            output.reply(&reply, || {
                let mut table = Table::new(&["USERNAME", "ROLE", "STATE", "LAST LOGIN", "FULL NAME", "ID"])
                    .empty("no accounts");
                for user in &reply.users {
                    table.row([
                        user.username.clone(),
                        user.role.clone(),
                        state(user),
                        ago(user.last_login.as_ref()),
                        user.full_name.clone().unwrap_or_default(),
                        user.id.clone(),
                    ]);
                }
                table
            })
        }
        UserCommand::Policy {
            min_length,
            max_age_days,
            history,
            lockout_threshold,
            lockout_duration,
            lockout_forget_after,
            session_idle,
        } => {
            let fields = [
                ("min_password_length", min_length),
                ("max_password_age_days", max_age_days),
                ("password_history", history),
                ("lockout_threshold", lockout_threshold),
                ("lockout_max_delay", lockout_duration),
                ("lockout_forget_after", lockout_forget_after),
                ("session_idle", session_idle),
            ];
            let paths: Vec<String> = fields
                .iter()
                .filter(|(_, given)| given.is_some())
                .map(|(path, _)| (*path).to_owned())
                .collect();
            if paths.is_empty() {
                let request = GetAccountPolicyRequest::default();
                let reply = client.call(user_service::GET_ACCOUNT_POLICY, &request).await?;
                return output.card(&reply, || policy(&reply.policy.unwrap_or_default()));
            }
            let whole = |seconds: u32| prost_types::Duration { seconds: seconds.into(), nanos: 0 };
            let wanted = AccountPolicy {
                min_password_length: min_length.unwrap_or_default(),
                max_password_age_days: max_age_days.unwrap_or_default(),
                password_history: history.unwrap_or_default(),
                lockout_threshold: lockout_threshold.unwrap_or_default(),
                lockout_max_delay: lockout_duration.map(whole),
                lockout_forget_after: lockout_forget_after.map(whole),
                session_idle: session_idle.map(whole),
                ..AccountPolicy::default()
            };
            let field_mask = Some(prost_types::FieldMask { paths });
            let request = UpdateAccountPolicyRequest { policy: Some(wanted), field_mask };
            let reply = client.call(user_service::UPDATE_ACCOUNT_POLICY, &request).await?;
            output.card(&reply, || policy(&reply.policy.unwrap_or_default()))
        }
        UserCommand::Get { name } => {
            let id = name.map_or_else(|| session.user(), Ok)?;
            let reply = client.call(user_service::GET_USER, &GetUserRequest { id, field_mask: None }).await?;
            output.card(&reply, || card(&reply.user.clone().unwrap_or_default()))
        }
        UserCommand::Delete { name } => {
            let reply =
                client.call(user_service::DELETE_USER, &DeleteUserRequest { id: name.clone() }).await?;
            output.line(&reply, || format!("{name}: deleted"))
        }
        UserCommand::Create { .. } | UserCommand::Passwd { .. } | UserCommand::Update { .. } => Ok(()),
    }
}

fn card(user: &User) -> Card {
    let mut card = Card::default();
    card.line("Username", user.username.clone())
        .line("Role", user.role.clone())
        .line("State", state(user))
        .line("Full name", user.full_name.clone().unwrap_or_default())
        .line("E-mail", user.email.clone().unwrap_or_default());
    let strictly = if user.strict_account_types == Some(true) { ", strictly" } else { "" };
    card.line("For", format!("{}{strictly}", types(user)));
    if let Some(end) = &user.expires_at {
        card.line("Expires", when(Some(end)));
    }
    if user.password_change_required {
        card.line("Password", "must be changed at the next login");
    }
    if let Some(lockout) = user.lockout_info.as_ref().filter(|lockout| lockout.locked) {
        card.line("Locked", enum_word(lockout.reason().as_str_name(), "LOCKOUT_REASON_"))
            .line("  until", when(lockout.attempts_reset_time.as_ref()));
    }
    if user.ipmi_access == Some(true) {
        let number = user.ipmi_user.map(|number| format!("user {number}")).unwrap_or_default();
        let ready = match (user.ipmi_ready, user.password_change_required) {
            (true, _) => "",
            (false, true) => ", once its password is changed",
            (false, false) => ", once its password is set again",
        };
        card.line("IPMI", format!("{number}{ready}"));
    }
    card.line("Password set", when(user.password_last_changed.as_ref()))
        .line("Last login", when(user.last_login.as_ref()))
        .line("Created", when(user.created_at.as_ref()))
        .line("Id", user.id.clone());
    card
}

async fn passwd(
    session: &Session,
    name: Option<String>,
    file: Option<std::path::PathBuf>,
    generate: bool,
    keep: bool,
    output: Output,
) -> Result<(), Failure> {
    let own = session.context.user.clone();
    let whose =
        name.or_else(|| own.clone()).ok_or_else(|| Failure::Usage("whose? Name the account".into()))?;
    if own.as_ref() == Some(&whose) && !generate {
        let current = session.password(&whose).await?;
        // Who has the password needs no session; who has a session uses it, so that it stays the one that is kept.
        let client = match &session.context.token {
            Some(token) => session.client_with(&crate::client::Credential::Token(token.clone()))?,
            None => session.client_with(&crate::client::Credential::Basic {
                user: whose.clone(),
                password: current.clone(),
            })?,
        };
        session.tell();
        let new = match file {
            Some(path) => prompt::secret_from(&path).await?,
            None => prompt::new_secret(&whose).await?,
        };
        let request =
            ChangePasswordRequest { id: whose.clone(), current_password: current, new_password: new };
        let reply = client.call(user_service::CHANGE_PASSWORD, &request).await?;
        return output.line(&reply, || format!("{whose}: password changed"));
    }
    let client = session.changing().await?;
    let new_password = match file {
        _ if generate => None,
        Some(path) => Some(prompt::secret_from(&path).await?),
        None => Some(prompt::new_secret(&whose).await?),
    };
    let request = ResetPasswordRequest { id: whose.clone(), new_password, require_change: Some(!keep) };
    let reply = client.call(user_service::RESET_PASSWORD, &request).await?;
    let shown = output.line(&reply, || match reply.new_password.as_str() {
        "" if keep => format!("{whose}: password set"),
        "" => format!("{whose}: password set, to be changed at the next login"),
        made => made.to_owned(),
    });
    // The only copy of what the BMC made: that nobody has it must not go by in silence.
    shown.map_err(|failure| match reply.new_password.is_empty() {
        true => failure,
        false => failure
            .after(&format!("the password of {whose} WAS changed and could not be shown; run it again")),
    })
}

pub(crate) async fn session(
    session: Session,
    command: SessionCommand,
    output: Output,
) -> Result<(), Failure> {
    let client = match command {
        SessionCommand::List { .. } => session.client().await?,
        SessionCommand::Delete { .. } => session.changing().await?,
    };
    match command {
        SessionCommand::List { all } => {
            let username = if all { String::new() } else { session.user()? };
            let request = ListSessionsRequest { username, field_mask: None };
            let reply = client.call(session_service::LIST_SESSIONS, &request).await?;
            output.reply(&reply, || {
                let mut table =
                    Table::new(&["", "ID", "USER", "ROLE", "ADDRESS", "CREATED", "LAST USED", "EXPIRES"])
                        .empty("no sessions");
                for entry in &reply.sessions {
                    let ours = session.context.session.as_ref() == Some(&entry.id);
                    table.row([
                        if ours { "*" } else { " " }.to_owned(),
                        entry.id.clone(),
                        entry.username.clone(),
                        entry.role.clone(),
                        entry.address.clone(),
                        ago(entry.created_at.as_ref()),
                        ago(entry.last_used_at.as_ref()),
                        ago(entry.expires_at.as_ref()),
                    ]);
                }
                table
            })
        }
        SessionCommand::Delete { id } => {
            let reply = client
                .call(session_service::DELETE_SESSION, &DeleteSessionRequest { id: id.clone() })
                .await?;
            session.forget(&id)?;
            output.line(&reply, || format!("{id}: ended"))
        }
    }
}

pub(crate) async fn lockout(
    session: Session,
    command: LockoutCommand,
    output: Output,
) -> Result<(), Failure> {
    let client = match command {
        LockoutCommand::List { .. } => session.client().await?,
        LockoutCommand::Delete { .. } => session.changing().await?,
    };
    match command {
        LockoutCommand::List { name } => {
            let request = ListLockoutsRequest { username: name.unwrap_or_default() };
            let reply = client.call(lockout_service::LIST_LOCKOUTS, &request).await?;
            output.reply(&reply, || {
                let mut table = Table::new(&["ID", "ACCOUNT", "ADDRESS", "FAILURES", "ENDS"])
                    .empty("nobody is locked out");
                for lock in &reply.lockouts {
                    // A name that no account has is not told: people type passwords there.
                    let account = match lock.scope() {
                        LockoutScope::Address => "all",
                        _ if lock.username.is_empty() => "unknown",
                        _ => &lock.username,
                    };
                    let address = if lock.address.is_empty() { "all" } else { &lock.address };
                    table.row([
                        lock.id.clone(),
                        account.to_owned(),
                        address.to_owned(),
                        lock.failed_attempts.to_string(),
                        ago(lock.ends_at.as_ref()),
                    ]);
                }
                table
            })
        }
        LockoutCommand::Delete { id } => {
            let request = DeleteLockoutRequest { id: id.clone() };
            let reply = client.call(lockout_service::DELETE_LOCKOUT, &request).await?;
            output.line(&reply, || format!("{id}: lifted"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_characters_are_told_where_more_than_one_is_asked_for() {
        let of = |min_password_classes| {
            let policy = AccountPolicy {
                min_password_length: 8,
                max_password_length: 128,
                min_password_classes,
                ..Default::default()
            };
            length(&policy)
        };
        assert_eq!([of(1), of(3)], ["8 to 128 characters", "8 to 128 characters of 3 kinds"]);
    }
}
