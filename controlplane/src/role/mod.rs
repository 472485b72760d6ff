//! The roles: wiring only. Each binds its sockets, starts its workers, answers, and ends in order.

pub mod master;
pub mod proxy;
pub mod slave;
