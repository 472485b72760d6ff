//! A vat network that keeps account of what its peer makes us hold.
//!
//! It wraps the two-party network of capnp-rpc and looks at whole messages: questions open (a
//! `Bootstrap` or `Call` opens one; its `Finish`, or a `Return` that needs none, closes it) and bytes
//! that wait to be sent. Reading
//! pauses while too much waits to be sent, so that a peer is served as fast as it reads; a peer that
//! goes over a bound is cut off, and [`Account::verdict`] says why.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::rpc_capnp::message;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Connection, FlowController, IncomingMessage, OutgoingMessage, VatNetwork};
use futures::AsyncWrite;
use tokio::sync::Notify;

use super::{STALL, UNSENT_BYTES};

/// What a waiting message costs beside its bytes (measured: 1.2 KiB for the shortest).
const OVERHEAD: usize = 2048;

/// What one connection holds.
pub(crate) struct Account {
    calls_allowed: usize,
    idle_allowed: Duration,
    /// The ids of the questions that are open.
    calls: RefCell<HashSet<u32>>,
    unsent: Cell<usize>,
    heard: Cell<Instant>,
    /// When bytes were last taken by the peer, or first began to wait.
    moved: Cell<Instant>,
    broken: RefCell<Option<String>>,
    drained: Notify,
}

impl Account {
    pub(crate) fn new(calls_allowed: usize, idle_allowed: Duration) -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Account {
            calls_allowed,
            idle_allowed,
            calls: RefCell::default(),
            unsent: Cell::new(0),
            heard: Cell::new(now),
            moved: Cell::new(now),
            broken: RefCell::new(None),
            drained: Notify::new(),
        })
    }

    /// Why the connection must end now, if it must.
    pub(crate) fn verdict(&self, now: Instant) -> Option<String> {
        if let Some(reason) = self.broken.borrow().as_ref() {
            return Some(reason.clone());
        }
        let unsent = self.unsent.get();
        if unsent > 0 && now.saturating_duration_since(self.moved.get()) > STALL {
            return Some(format!(
                "it has not read for {} s while {unsent} bytes wait",
                STALL.as_secs()
            ));
        }
        let silent = now.saturating_duration_since(self.heard.get());
        if self.calls.borrow().is_empty() && unsent == 0 && silent > self.idle_allowed {
            return Some(format!("nothing heard for {} s", self.idle_allowed.as_secs()));
        }
        None
    }

    /// Notes a message that came in; an error cuts the connection off.
    fn heard(&self, body: capnp::any_pointer::Reader<'_>) -> capnp::Result<()> {
        self.heard.set(Instant::now());
        match body.get_as::<message::Reader<'_>>()?.which() {
            Ok(message::Which::Bootstrap(bootstrap)) => self.called(bootstrap?.get_question_id()),
            Ok(message::Which::Call(call)) => self.called(call?.get_question_id()),
            Ok(message::Which::Finish(finish)) => {
                self.calls.borrow_mut().remove(&finish?.get_question_id());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn called(&self, question: u32) -> capnp::Result<()> {
        if !self.calls.borrow_mut().insert(question) {
            return self.broken(format!("question {question} asked twice"));
        }
        if self.calls.borrow().len() > self.calls_allowed {
            return self.broken(format!("more than {} calls in flight", self.calls_allowed));
        }
        Ok(())
    }

    /// Notes a message that goes out.
    fn answers(&self, body: capnp::any_pointer::Reader<'_>) -> capnp::Result<()> {
        if let message::Which::Return(answer) = body.get_as::<message::Reader<'_>>()?.which()? {
            let answer = answer?;
            if answer.get_no_finish_needed() {
                self.calls.borrow_mut().remove(&answer.get_answer_id());
            }
        }
        Ok(())
    }

    fn broken(&self, reason: String) -> capnp::Result<()> {
        *self.broken.borrow_mut() = Some(reason.clone());
        Err(capnp::Error::failed(reason))
    }

    fn queued(&self, bytes: usize) {
        if self.unsent.get() == 0 {
            self.moved.set(Instant::now());
        }
        self.unsent.set(self.unsent.get() + bytes);
    }

    fn sent(&self, bytes: usize) {
        self.unsent.set(self.unsent.get().saturating_sub(bytes));
        if self.unsent.get() <= UNSENT_BYTES {
            self.drained.notify_waiters();
        }
    }

    async fn until_drained(&self) {
        while self.unsent.get() > UNSENT_BYTES {
            self.drained.notified().await;
        }
    }
}

/// A vat network whose connections keep an [`Account`].
pub(crate) struct Guarded<N> {
    inner: N,
    account: Rc<Account>,
}

impl<N> Guarded<N> {
    pub(crate) fn new(inner: N, account: Rc<Account>) -> Self {
        Guarded { inner, account }
    }
}

impl<N: VatNetwork<Side>> VatNetwork<Side> for Guarded<N> {
    fn connect(&mut self, host: Side) -> Option<Box<dyn Connection<Side>>> {
        let inner = self.inner.connect(host)?;
        Some(Box::new(GuardedConnection { inner, account: self.account.clone() }))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, capnp::Error> {
        let (accepted, account) = (self.inner.accept(), self.account.clone());
        Promise::from_future(async move {
            let inner = accepted.await?;
            Ok(Box::new(GuardedConnection { inner, account }) as Box<dyn Connection<Side>>)
        })
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), capnp::Error> {
        self.inner.drive_until_shutdown()
    }
}

struct GuardedConnection {
    inner: Box<dyn Connection<Side>>,
    account: Rc<Account>,
}

type Received = Promise<Option<Box<dyn IncomingMessage>>, capnp::Error>;

impl Connection<Side> for GuardedConnection {
    fn get_peer_vat_id(&self) -> Side {
        self.inner.get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_word_size: u32) -> Box<dyn OutgoingMessage> {
        let inner = self.inner.new_outgoing_message(first_segment_word_size);
        Box::new(GuardedMessage { inner, account: self.account.clone() })
    }

    fn receive_incoming_message(&mut self) -> Received {
        let (received, account) = (self.inner.receive_incoming_message(), self.account.clone());
        Promise::from_future(async move {
            account.until_drained().await;
            let received = received.await?;
            if let Some(message) = &received {
                account.heard(message.get_body()?)?;
            }
            Ok(received)
        })
    }

    fn new_stream(&mut self) -> (Box<dyn FlowController>, Promise<(), capnp::Error>) {
        self.inner.new_stream()
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), capnp::Error> {
        self.inner.shutdown(result)
    }
}

/// The sending half of a connection: notes when its peer takes bytes.
pub(crate) struct Watched<W> {
    inner: W,
    account: Rc<Account>,
}

impl<W> Watched<W> {
    pub(crate) fn new(inner: W, account: Rc<Account>) -> Self {
        Watched { inner, account }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Watched<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let taken = Pin::new(&mut self.inner).poll_write(context, bytes);
        if matches!(taken, Poll::Ready(Ok(1..))) {
            self.account.moved.set(Instant::now());
        }
        taken
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

struct GuardedMessage {
    inner: Box<dyn OutgoingMessage>,
    account: Rc<Account>,
}

impl OutgoingMessage for GuardedMessage {
    fn get_body(&mut self) -> capnp::Result<capnp::any_pointer::Builder<'_>> {
        self.inner.get_body()
    }

    fn get_body_as_reader(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.inner.get_body_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), capnp::Error>, Rc<Builder<HeapAllocator>>) {
        let (bytes, account) = (OVERHEAD + self.inner.size_in_words() * 8, self.account);
        account.queued(bytes);
        // A message of our own is well-formed; if it were not, the question would stay open.
        let _ = self.inner.get_body_as_reader().and_then(|body| account.answers(body));
        let (sending, message) = self.inner.send();
        // The caller may drop the promise, and must not make the account forget these bytes.
        let (done, outcome) = tokio::sync::oneshot::channel();
        tokio::task::spawn_local(async move {
            let result = sending.await;
            account.sent(bytes);
            let _ = done.send(result);
        });
        let outcome = Promise::from_future(async move {
            outcome.await.unwrap_or_else(|_| Err(capnp::Error::disconnected("not sent".into())))
        });
        (outcome, message)
    }

    fn take(self: Box<Self>) -> Builder<HeapAllocator> {
        self.inner.take()
    }

    fn size_in_words(&self) -> usize {
        self.inner.size_in_words()
    }
}
