//! The stories: what Homeostat must show, on real parts, one behaviour each.
//!
//! A daemon, plugins in Wasm, model servers with real inference: all are the
//! programs that are shipped or demonstrated, started as anybody would start
//! them. `cargo xtask test` builds what they need.

mod author;
mod benign;
mod box_mended;
mod bus;
mod campaign;
mod checkpoint;
mod clock;
mod closure;
mod configuration;
mod crash;
mod daemon_killed;
mod device_reading;
mod disk;
mod disk_health;
mod doctor;
mod drill;
mod first_party;
mod guard;
mod guide;
mod hang;
mod healer_misbehaves;
mod install;
mod intent;
mod journal_damaged;
mod log_line;
mod long_day;
mod modbus;
mod nagios;
mod observe;
mod operator_command;
mod ordinary_user;
mod package_refused;
mod plugin_misbehaves;
mod recording;
mod relapse;
mod secret;
mod shim_killed;
mod start_loop;
mod systemd;
mod systemd_unit;
mod trust;
mod upgrade;
