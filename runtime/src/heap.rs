//! Keeping the heap as small as what lives in it.
//!
//! glibc's allocator holds on to what was freed: it raises its own thresholds
//! with each large block that is given back, and gives each thread an arena. A
//! daemon that reads its journal whole once in a while keeps that room for good:
//! with a store of 64 MiB some 25 MiB more than lives, measured over fifty
//! copies of the database. Other allocators are left as they are.

/// Fixed, as by default at the start; left alone, glibc raises it up to 32 MiB.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: libc::c_int = 128 << 10;
/// What may be free at the heap's end.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD: libc::c_int = 256 << 10;
/// One thread decides, and the others wait for it.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Call it before there are threads.
pub fn keep_small() {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        (libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD),
        (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD),
        (libc::M_ARENA_MAX, ARENAS),
    ] {
        // SAFETY: it takes two numbers, and an unknown one is refused.
        unsafe { libc::mallopt(what, value) };
    }
}

/// After work that needed much, and is done.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches free memory alone, and holds the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
