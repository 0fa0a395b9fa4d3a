//! A bus, the daemon on it, and a gateway's view of both.

use std::path::PathBuf;
use std::time::Duration;

use busd::testing::Bus;
use ipc::{CallContext, Client, Principal, Status};
use prost::Message;
use schema::v1alpha1 as v1;
use serde_json::{Map, Value, json};
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown, Trigger};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

pub(crate) const PASSWORD: &str = "plum jam 7 spoons";
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// A running daemon; dropped, it is gone as after SIGKILL.
pub(crate) struct Daemon {
    task: JoinHandle<Result<(), usermgr::Error>>,
    trigger: Trigger,
    notifications: UnboundedReceiver<Notification>,
    pub(crate) credential: Option<(String, String)>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Daemon {
    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(mut self) {
        self.trigger.stop();
        tokio::time::timeout(WAIT, &mut self.task)
            .await
            .expect("stops in time")
            .expect("no panic")
            .expect("no error");
    }

    /// Kills it and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

pub(crate) struct Rig {
    pub(crate) bus: Bus,
    pub(crate) client: Client,
    pub(crate) config: Value,
    pub(crate) dir: tempfile::TempDir,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let bus = Bus::start().await;
        bus.create_bucket(usermgr::USERS).await;
        bus.create_bucket(usermgr::SESSIONS).await;
        bus.create_bucket(usermgr::ROLES).await;
        let client = bus.client("websrv").await;
        // The cheapest hash allowed: these tests are about what surrounds it.
        let config = json!({ "password": { "memory_kib": 4096, "passes": 3 } });
        Self { bus, client, config, dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A rig whose first administrator has [`PASSWORD`].
    pub(crate) async fn with_admin() -> Self {
        let mut rig = Self::new().await;
        let path = rig.password_file(PASSWORD);
        rig.set("admin_password_file", json!(path));
        rig
    }

    pub(crate) fn password_file(&self, password: &str) -> PathBuf {
        let path = self.dir.path().join("admin-password");
        std::fs::write(&path, format!("{password}\n")).expect("written");
        path
    }

    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.config[key] = value;
    }

    fn context(&self, bus: Client) -> (Context, Trigger, UnboundedReceiver<Notification>) {
        let (notify, notifications) = Notifier::channel();
        let (trigger, shutdown) = Shutdown::new();
        let settings: Map<String, Value> = self.config.as_object().cloned().unwrap_or_default();
        let local = LocalContext {
            daemon: usermgr::NAME.to_owned(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: None,
            state_dir: self.dir.path().to_owned(),
            run_dir: self.dir.path().to_owned(),
            heartbeat_every: std::time::Duration::from_secs(5),
            settings,
        };
        (Context { local, bus }, trigger, notifications)
    }

    /// Starts the daemon and waits until it serves.
    pub(crate) async fn start(&self) -> Daemon {
        let (context, trigger, notifications) = self.context(self.bus.client(usermgr::NAME).await);
        let task = tokio::spawn(usermgr::run(context));
        let mut daemon = Daemon { task, trigger, notifications, credential: None };
        loop {
            let next = tokio::time::timeout(WAIT, daemon.notifications.recv()).await.expect("ready in time");
            match next.expect("the daemon runs") {
                Notification::Ready => return daemon,
                Notification::Credential(text) => {
                    let (name, password) = text.split_once(':').expect("name:password");
                    daemon.credential = Some((name.to_owned(), password.to_owned()));
                }
                _ => {}
            }
        }
    }

    /// Runs the daemon to its end.
    pub(crate) async fn fail(&self) -> usermgr::Error {
        let (context, _trigger, _notifications) = self.context(self.bus.client(usermgr::NAME).await);
        tokio::time::timeout(WAIT, usermgr::run(context))
            .await
            .expect("ends in time")
            .expect_err("it cannot run")
    }

    pub(crate) async fn call<Q: Message, R: Message + Default>(
        &self,
        method: schema::Method<Q, R>,
        request: Q,
        principal: Option<&v1::Principal>,
    ) -> Result<R, Status> {
        let mut context = CallContext::new().with_timeout(WAIT);
        if let Some(principal) = principal {
            context = context.with_principal(bus_principal(principal));
        }
        self.client.call(method, &request, &context).await
    }

    pub(crate) async fn login(
        &self,
        name: &str,
        password: &str,
        address: &str,
    ) -> Result<v1::CreateSessionResponse, Status> {
        let request = v1::CreateSessionRequest {
            username: name.to_owned(),
            password: password.to_owned(),
            address: address.to_owned(),
            user_agent: "test".to_owned(),
            account_type: None,
        };
        self.call(schema::rpc::session_service::CREATE_SESSION, request, None).await
    }

    /// HTTP Basic.
    pub(crate) async fn basic(
        &self,
        name: &str,
        password: &str,
        address: &str,
    ) -> Result<v1::Principal, Status> {
        let request = v1::VerifyPasswordRequest {
            username: name.to_owned(),
            password: password.to_owned(),
            address: address.to_owned(),
        };
        let response = self.call(schema::rpc::auth_service::VERIFY_PASSWORD, request, None).await?;
        Ok(response.principal.expect("a principal"))
    }

    pub(crate) async fn token(&self, token: &str) -> Result<v1::Principal, Status> {
        let request = v1::VerifyTokenRequest { token: token.to_owned(), address: "192.0.2.1".to_owned() };
        let response = self.call(schema::rpc::auth_service::VERIFY_TOKEN, request, None).await?;
        Ok(response.principal.expect("a principal"))
    }

    /// Logs in and returns the token and who it belongs to.
    pub(crate) async fn enter(&self, name: &str, password: &str) -> (String, v1::Principal) {
        let response = self.login(name, password, "192.0.2.1").await.expect("the login succeeds");
        let principal = self.token(&response.token).await.expect("the token is good");
        (response.token, principal)
    }

    /// Creates a user and returns its id.
    pub(crate) async fn create(&self, admin: &v1::Principal, name: &str, role: &str) -> String {
        let user = v1::User { username: name.to_owned(), role: role.to_owned(), ..v1::User::default() };
        let request =
            v1::CreateUserRequest { user: Some(user), password: PASSWORD.to_owned(), ..Default::default() };
        let response = self.call(schema::rpc::user_service::CREATE_USER, request, Some(admin)).await;
        response.expect("the user is created").user.expect("a user").id
    }

    pub(crate) async fn update(&self, who: &v1::Principal, user: v1::User) -> Result<v1::User, Status> {
        let request = v1::UpdateUserRequest { user: Some(user), ..Default::default() };
        let response = self.call(schema::rpc::user_service::UPDATE_USER, request, Some(who)).await?;
        Ok(response.user.expect("a user"))
    }

    pub(crate) async fn change_password(
        &self,
        who: &v1::Principal,
        id: &str,
        old: &str,
        new: &str,
    ) -> Result<(), Status> {
        let request = v1::ChangePasswordRequest {
            id: id.to_owned(),
            current_password: old.to_owned(),
            new_password: new.to_owned(),
        };
        self.call(schema::rpc::user_service::CHANGE_PASSWORD, request, Some(who)).await.map(drop)
    }

    pub(crate) async fn get_user(&self, who: &v1::Principal, id: &str) -> Result<v1::User, Status> {
        let request = v1::GetUserRequest { id: id.to_owned(), field_mask: None };
        let response = self.call(schema::rpc::user_service::GET_USER, request, Some(who)).await?;
        Ok(response.user.expect("a user"))
    }

    pub(crate) async fn sessions(&self, who: &v1::Principal, user: &str) -> Result<Vec<v1::Session>, Status> {
        let request = v1::ListSessionsRequest { username: user.to_owned(), field_mask: None };
        Ok(self.call(schema::rpc::session_service::LIST_SESSIONS, request, Some(who)).await?.sessions)
    }

    pub(crate) async fn end_session(&self, who: &v1::Principal, id: &str) -> Result<(), Status> {
        let request = v1::DeleteSessionRequest { id: id.to_owned() };
        self.call(schema::rpc::session_service::DELETE_SESSION, request, Some(who)).await.map(drop)
    }
}

/// What a gateway writes into the header of a call.
pub(crate) fn bus_principal(principal: &v1::Principal) -> Principal {
    Principal {
        username: principal.username.clone(),
        user_id: principal.user_id.clone(),
        role: principal.role.clone(),
        privileges: principal.privileges.clone(),
        session_id: principal.session_id.clone(),
        address: principal.address.clone(),
    }
}
