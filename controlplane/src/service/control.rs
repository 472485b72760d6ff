//! Port 2210: who a unit is, and whether it lives.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tracing::info;
use weir_rpc::control_capnp::{self, control};

use super::client::Transport;
use super::{CALL_DEADLINE, Limits, words};
use crate::error::Error;
use crate::reload::Reloader;
use crate::topology::Role;

/// Who a unit is, as it says when it attaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name in the topology.
    pub name: String,
    /// Its role; `None` for a console.
    pub role: Option<Role>,
    /// Random for each start of the process.
    pub instance: u64,
    /// Software version.
    pub version: String,
}

impl Identity {
    /// This process as the unit `name`.
    pub fn of_this_process(name: &str, role: Option<Role>) -> Self {
        Identity {
            name: name.into(),
            role,
            instance: crate::random::number(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    fn write(&self, mut unit: control_capnp::unit::Builder<'_>) {
        unit.set_name(&self.name);
        unit.set_role(role_word(self.role));
        unit.set_instance(self.instance);
        unit.set_version(&self.version);
        unit.set_protocol(weir_rpc::PROTOCOL);
    }

    fn read(unit: control_capnp::unit::Reader<'_>) -> capnp::Result<Self> {
        Ok(Identity {
            name: words::text(unit.get_name())?,
            role: unit.get_role().ok().and_then(role_of),
            instance: unit.get_instance(),
            version: words::text(unit.get_version())?,
        })
    }
}

/// The schema's word for a role.
pub(crate) fn role_word(role: Option<Role>) -> control_capnp::Role {
    match role {
        None => control_capnp::Role::Console,
        Some(Role::Master) => control_capnp::Role::Master,
        Some(Role::Proxy) => control_capnp::Role::Proxy,
        Some(Role::Slave) => control_capnp::Role::Slave,
    }
}

/// The role of a schema's word; `None` for a console and for what this version does not know.
pub(crate) fn role_of(word: control_capnp::Role) -> Option<Role> {
    match word {
        control_capnp::Role::Master => Some(Role::Master),
        control_capnp::Role::Proxy => Some(Role::Proxy),
        control_capnp::Role::Slave => Some(Role::Slave),
        control_capnp::Role::Console | control_capnp::Role::Unknown => None,
    }
}

/// The serving side.
pub struct ControlService {
    identity: Identity,
    reloader: Reloader,
}

impl ControlService {
    /// The bootstrap interface of a unit's port 2210.
    pub fn bootstrap(identity: Identity, reloader: Reloader) -> capnp::capability::Client {
        let client: control::Client = capnp_rpc::new_client(ControlService { identity, reloader });
        client.client
    }
}

impl control::Server for ControlService {
    async fn attach(
        self: Rc<Self>,
        params: control::AttachParams,
        mut results: control::AttachResults,
    ) -> Result<(), capnp::Error> {
        let peer = Identity::read(params.get()?.get_peer()?)?;
        info!(peer = %peer.name, instance = format_args!("{:016x}", peer.instance), version = %peer.version, "attached");
        self.identity.write(results.get().init_unit());
        Ok(())
    }

    async fn ping(
        self: Rc<Self>,
        _params: control::PingParams,
        mut results: control::PingResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_instance(self.identity.instance);
        Ok(())
    }

    async fn reload(
        self: Rc<Self>,
        _params: control::ReloadParams,
        mut results: control::ReloadResults,
    ) -> Result<(), capnp::Error> {
        let changes = self.reloader.reload().await.map_err(capnp::Error::failed)?;
        let length = u32::try_from(changes.len()).unwrap_or(u32::MAX);
        let mut list = results.get().init_changes(length);
        for (at, change) in (0..).zip(&changes) {
            list.set(at, change);
        }
        Ok(())
    }
}

/// The calling side: an attached control connection.
pub struct ControlClient {
    transport: Transport,
    control: control::Client,
    /// Who answered.
    pub peer: Identity,
}

impl ControlClient {
    /// Connects to a unit's port 2210 and attaches as `identity`.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Deadline`], [`Error::Lost`].
    pub async fn attach(address: SocketAddr, identity: &Identity) -> Result<Self, Error> {
        let (transport, control) =
            Transport::connect::<control::Client>(address, Limits::CONTROL.message_bytes).await?;
        let mut request = control.attach_request();
        identity.write(request.get().init_peer());
        let response = transport.call("attach", CALL_DEADLINE, request.send().promise).await?;
        let peer = response
            .get()
            .and_then(|results| Identity::read(results.get_unit()?))
            .map_err(|error| Error::Malformed { what: "attach", reason: error.extra })?;
        Ok(ControlClient { transport, control, peer })
    }

    /// Has the unit read its topology file again; what that changed, in sentences.
    ///
    /// # Errors
    /// [`Error::Refused`] with the file's problems, and those of any call.
    pub async fn reload(&self) -> Result<Vec<String>, Error> {
        let sent = self.control.reload_request().send().promise;
        let response = self.transport.call("reload", CALL_DEADLINE, sent).await?;
        let read = || -> capnp::Result<Vec<String>> {
            response.get()?.get_changes()?.iter().map(words::text).collect()
        };
        read().map_err(|error| Error::Malformed { what: "reload", reason: error.extra })
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) {
        self.transport.closed().await;
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// [`Error::Deadline`] when the unit is silent, [`Error::Lost`] when the connection is gone or
    /// another process answers.
    pub async fn ping(&self, deadline: Duration) -> Result<(), Error> {
        let sent = self.control.ping_request().send().promise;
        let response = self.transport.call("ping", deadline, sent).await?;
        match response.get() {
            Ok(results) if results.get_instance() == self.peer.instance => Ok(()),
            Ok(_) => Err(Error::Lost { what: "ping", reason: "the unit was restarted".into() }),
            Err(error) => Err(Error::Malformed { what: "ping", reason: error.extra }),
        }
    }
}
