//! A plugin's words for the daemon's log: the only thing it may call.
//!
//! Levels are syslog severities, as in `line.priority`. Natively, in a test,
//! they go to standard error.

pub fn error(message: impl AsRef<str>) {
    log(3, message.as_ref());
}

pub fn warn(message: impl AsRef<str>) {
    log(4, message.as_ref());
}

pub fn info(message: impl AsRef<str>) {
    log(6, message.as_ref());
}

pub fn debug(message: impl AsRef<str>) {
    log(7, message.as_ref());
}

#[cfg(target_arch = "wasm32")]
fn log(level: u8, message: &str) {
    crate::bindings::detector::homeostat::plugin::log::log(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn log(level: u8, message: &str) {
    let word = match level {
        0..=3 => "error",
        4 => "warn",
        5 | 6 => "info",
        _ => "debug",
    };
    eprintln!("plugin {word}: {message}");
}

/// Lets a panic say where and why before it ends as a trap, which itself says
/// nothing. Idle natively, where the test harness does the same.
pub(crate) fn log_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| error(panic.to_string())));
}
