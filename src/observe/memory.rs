//! How the process gives memory back.

/// From this size on a block is the system's own and goes back to it when it is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_BLOCK_BYTES: libc::c_int = 1 << 20;

/// Lets large blocks go back to the system. Left alone, glibc raises its threshold to 32 MiB as blocks are freed, and columns that come
/// and go at different times leave holes: with 10,000 keys a third of the process was holes. Smaller thresholds cost page faults
/// for every block that is read. To be called before other threads start.
pub fn give_back_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call has no requirement; a value that it does not like it refuses, which changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_BLOCK_BYTES);
    }
}

/// The greatest that glibc takes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const REUSED_BLOCK_BYTES: libc::c_int = 32 << 20;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: libc::c_int = 256 << 20;

/// Keeps blocks for the next that are as large. Training takes and frees the same ones batch after batch, and half of its time would go into
/// the system's zeroing them. To be called before other threads start.
pub fn reuse_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the calls have no requirement; a value that they do not like they refuse, which changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, REUSED_BLOCK_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}
