//! Port 4210: questions and status, the same interface at slave, proxy and master.
//!
//! A partial answer crosses as bytes that only weir-store reads, in chunks that the caller fetches,
//! so that no message is long and a caller that goes away costs nothing more.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_rpc::query_capnp::{chunks, query};
use weir_store::query::Question;
use weir_store::query::partial::MAX_PARTIAL_BYTES;

use super::client::Transport;
use super::{
    ANSWER_MESSAGE_BYTES, CALL_DEADLINE, CHUNK_BYTES, FETCH_DEADLINE, LONGEST_DEADLINE, PULSE,
    QUESTIONS_AT_ONCE, SILENCE, WAITING_MIB, words,
};
use crate::coverage::Coverage;
use crate::error::Error;
use crate::status::UnitStatus;

/// A partial answer in weir-store's encoding, and what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// [`weir_store::query::Partial::to_bytes`].
    pub partial: Vec<u8>,
    /// The slaves that should have answered.
    pub coverage: Coverage,
}

/// What a role does with a question.
#[expect(async_fn_in_trait, reason = "the futures stay on the RPC thread")]
pub trait Answers: 'static {
    /// Answers within the deadline, as far as its slaves do.
    ///
    /// # Errors
    /// When the question makes no sense, or its answer would be too large.
    async fn ask(&self, question: Question, deadline: Duration) -> Result<Answered, Error>;

    /// How the unit is, and the units behind it.
    async fn status(&self, deadline: Duration) -> UnitStatus;
}

/// The serving side.
pub struct QueryService<U> {
    unit: Rc<U>,
    turns: Semaphore,
    waiting: Arc<Semaphore>,
}

impl<U: Answers> QueryService<U> {
    /// The bootstrap interface of a unit's port 4210.
    pub fn bootstrap(unit: Rc<U>) -> capnp::capability::Client {
        let client: query::Client = capnp_rpc::new_client(QueryService {
            unit,
            turns: Semaphore::new(QUESTIONS_AT_ONCE),
            waiting: Arc::new(Semaphore::new(WAITING_MIB)),
        });
        client.client
    }

    /// What does not fit the first message, to be fetched.
    fn rest(&self, bytes: Vec<u8>) -> Result<chunks::Client, capnp::Error> {
        let mib = u32::try_from(bytes.len().div_ceil(1 << 20)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.waiting).try_acquire_many_owned(mib).map_err(|_| {
            capnp::Error::overloaded("too many large answers wait to be fetched; try again".into())
        })?;
        let rest = Rc::new(Rest::new(bytes, room));
        tokio::task::spawn_local(forget_when_unfetched(Rc::downgrade(&rest)));
        Ok(capnp_rpc::new_client_from_rc(rest))
    }
}

fn refuse(error: Error) -> capnp::Error {
    capnp::Error::failed(error.to_string())
}

fn bounded(deadline_ms: u32) -> Duration {
    Duration::from_millis(deadline_ms.into()).min(LONGEST_DEADLINE)
}

impl<U: Answers> query::Server for QueryService<U> {
    async fn ask(
        self: Rc<Self>,
        params: query::AskParams,
        mut results: query::AskResults,
    ) -> Result<(), capnp::Error> {
        let (question, deadline) = {
            let params = params.get()?;
            (words::read_question(params.get_question()?)?, bounded(params.get_deadline_ms()))
        };
        let began = Instant::now();
        let _turn = tokio::time::timeout(deadline, self.turns.acquire()).await.map_err(|_| {
            capnp::Error::overloaded(format!(
                "{QUESTIONS_AT_ONCE} other questions took all the time"
            ))
        })?;
        let left = deadline.saturating_sub(began.elapsed());
        let mut answered = self.unit.ask(question, left).await.map_err(refuse)?;
        let mut results = results.get();
        words::write_coverage(&answered.coverage, results.reborrow().init_coverage());
        results.set_size(answered.partial.len() as u64);
        if answered.partial.len() > CHUNK_BYTES {
            let rest = answered.partial.split_off(CHUNK_BYTES);
            results.set_rest(self.rest(rest)?);
        }
        results.set_first(&answered.partial);
        Ok(())
    }

    async fn status(
        self: Rc<Self>,
        params: query::StatusParams,
        mut results: query::StatusResults,
    ) -> Result<(), capnp::Error> {
        let deadline = bounded(params.get()?.get_deadline_ms());
        let status = self.unit.status(deadline).await;
        words::write_status(&status, results.get().init_status());
        Ok(())
    }

    async fn ping(
        self: Rc<Self>,
        _params: query::PingParams,
        _results: query::PingResults,
    ) -> Result<(), capnp::Error> {
        Ok(())
    }
}

/// The rest of an answer while its caller fetches it.
struct Rest {
    bytes: RefCell<Vec<u8>>,
    at: Cell<usize>,
    fetched: Cell<Instant>,
    room: RefCell<Option<OwnedSemaphorePermit>>,
}

impl Rest {
    fn new(bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Self {
        Rest {
            bytes: RefCell::new(bytes),
            at: Cell::new(0),
            fetched: Cell::new(Instant::now()),
            room: RefCell::new(Some(room)),
        }
    }

    fn forget(&self) {
        *self.bytes.borrow_mut() = Vec::new();
        *self.room.borrow_mut() = None;
    }
}

impl chunks::Server for Rest {
    async fn next(
        self: Rc<Self>,
        _params: chunks::NextParams,
        mut results: chunks::NextResults,
    ) -> Result<(), capnp::Error> {
        if self.room.borrow().is_none() {
            return Err(capnp::Error::failed("the answer was given up: it was not fetched".into()));
        }
        let bytes = self.bytes.borrow();
        let from = self.at.get();
        let to = bytes.len().min(from + CHUNK_BYTES);
        results.get().set_data(&bytes[from..to]);
        self.at.set(to);
        self.fetched.set(Instant::now());
        Ok(())
    }
}

async fn forget_when_unfetched(rest: std::rc::Weak<Rest>) {
    loop {
        tokio::time::sleep(FETCH_DEADLINE / 4).await;
        let Some(rest) = rest.upgrade() else { return };
        if rest.fetched.get().elapsed() > FETCH_DEADLINE {
            return rest.forget();
        }
    }
}

/// The calling side: one connection to a unit's port 4210.
pub struct QueryClient {
    transport: Transport,
    query: query::Client,
}

impl QueryClient {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connect(address: SocketAddr) -> Result<Self, Error> {
        let (transport, query) = Transport::connect(address, ANSWER_MESSAGE_BYTES).await?;
        Ok(QueryClient { transport, query })
    }

    /// Asks, and fetches the whole answer within the deadline. A unit that falls silent meanwhile is
    /// given up after [`SILENCE`].
    ///
    /// # Errors
    /// [`Error::Deadline`], [`Error::Lost`], [`Error::Refused`], [`Error::Malformed`].
    pub async fn ask(&self, question: &Question, deadline: Duration) -> Result<Answered, Error> {
        tokio::select! {
            answered = tokio::time::timeout(deadline, self.ask_and_fetch(question, deadline)) => {
                answered.unwrap_or(Err(Error::Deadline { what: "ask", after: deadline }))
            }
            error = self.until_silent() => Err(error),
        }
    }

    async fn ask_and_fetch(
        &self,
        question: &Question,
        deadline: Duration,
    ) -> Result<Answered, Error> {
        let malformed = |error: capnp::Error| Error::Malformed { what: "ask", reason: error.extra };
        let mut request = self.query.ask_request();
        words::write_question(question, request.get().init_question());
        request.get().set_deadline_ms(u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX));
        let response = self.transport.call("ask", deadline, request.send().promise).await?;
        let (size, mut answered, rest) = (|| {
            let results = response.get()?;
            let coverage = words::read_coverage(results.get_coverage()?)?;
            let rest = results.has_rest().then(|| results.get_rest()).transpose()?;
            let answered = Answered { partial: results.get_first()?.to_vec(), coverage };
            Ok((results.get_size(), answered, rest))
        })()
        .map_err(malformed)?;
        if size > MAX_PARTIAL_BYTES as u64 {
            let reason = format!("a partial answer of {size} bytes is over {MAX_PARTIAL_BYTES}");
            return Err(Error::Malformed { what: "ask", reason });
        }
        while (answered.partial.len() as u64) < size {
            let Some(rest) = &rest else { break };
            let sent = rest.next_request().send().promise;
            let response = self.transport.call("fetch", deadline, sent).await?;
            let chunk = response.get().and_then(|results| results.get_data()).map_err(malformed)?;
            if chunk.is_empty() {
                break;
            }
            answered.partial.extend_from_slice(chunk);
        }
        if answered.partial.len() as u64 != size {
            let reason = format!("{} bytes came of {size}", answered.partial.len());
            return Err(Error::Malformed { what: "ask", reason });
        }
        Ok(answered)
    }

    /// Asks the unit for a sign of life as long as the future lives; ends when there is none.
    async fn until_silent(&self) -> Error {
        loop {
            let ping = self.query.ping_request().send().promise;
            let lost = self.transport.call("ping", SILENCE, ping).await.err();
            // A slow line may hold the answer to a ping behind a chunk: any byte is a sign of life.
            if let Some(error) = lost
                && (!matches!(error, Error::Deadline { .. })
                    || self.transport.silent_for() >= SILENCE)
            {
                return error;
            }
            tokio::time::sleep(PULSE).await;
        }
    }

    /// How the unit is, and the units behind it.
    ///
    /// # Errors
    /// [`Error::Deadline`], [`Error::Lost`], [`Error::Refused`], [`Error::Malformed`].
    pub async fn status(&self, deadline: Duration) -> Result<UnitStatus, Error> {
        let mut request = self.query.status_request();
        request.get().set_deadline_ms(u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX));
        let response = self.transport.call("status", deadline, request.send().promise).await?;
        response
            .get()
            .and_then(|results| words::read_status(results.get_status()?))
            .map_err(|error| Error::Malformed { what: "status", reason: error.extra })
    }
}

/// A connection to a unit's port 4210 that is opened when it is needed and kept while it lasts.
pub struct QueryLink {
    address: SocketAddr,
    open: RefCell<Option<Rc<QueryClient>>>,
}

impl QueryLink {
    /// To this address; connects with the first call.
    pub fn new(address: SocketAddr) -> Self {
        QueryLink { address, open: RefCell::new(None) }
    }

    /// As [`QueryClient::ask`]; a kept connection that turns out to be gone is replaced once.
    ///
    /// # Errors
    /// As [`QueryClient::ask`], and [`Error::Connect`].
    pub async fn ask(&self, question: &Question, deadline: Duration) -> Result<Answered, Error> {
        self.with(async |client| client.ask(question, deadline).await).await
    }

    /// As [`QueryClient::status`], likewise.
    ///
    /// # Errors
    /// As [`QueryClient::status`], and [`Error::Connect`].
    pub async fn status(&self, deadline: Duration) -> Result<UnitStatus, Error> {
        let deadline = deadline.min(CALL_DEADLINE);
        self.with(async |client| client.status(deadline).await).await
    }

    async fn with<T>(
        &self,
        call: impl AsyncFn(&QueryClient) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(client) = self.kept() {
            match call(&client).await {
                Err(error) if error.is_lost_connection() => self.forget(&client),
                Err(error @ Error::Deadline { .. }) => {
                    self.forget(&client);
                    return Err(error);
                }
                outcome => return outcome,
            }
        }
        let client = Rc::new(QueryClient::connect(self.address).await?);
        *self.open.borrow_mut() = Some(client.clone());
        let outcome = call(&client).await;
        if matches!(outcome, Err(Error::Lost { .. } | Error::Deadline { .. })) {
            self.forget(&client);
        }
        outcome
    }

    fn kept(&self) -> Option<Rc<QueryClient>> {
        let mut open = self.open.borrow_mut();
        if open.as_ref().is_some_and(|client| client.transport.is_closed()) {
            *open = None;
        }
        open.clone()
    }

    fn forget(&self, client: &Rc<QueryClient>) {
        let mut open = self.open.borrow_mut();
        if open.as_ref().is_some_and(|kept| Rc::ptr_eq(kept, client)) {
            *open = None;
        }
    }
}
