//! The three programs as processes, over real sockets, on the committed model.

mod client;
mod faults;
mod injector;
mod run;
mod server;
