//! The plugin room on real parts: signed files, the real compiler program, the
//! sealed cache, threads. The plugins are small and contrary, written in
//! WebAssembly text so that they do exactly what a story needs.

mod compiler;
mod detector;
mod golden;
mod guest;
mod healer;
mod hostile;
mod load;
mod rig;
