//! How the process keeps memory that was freed.

/// Lets the C library keep freed memory for the next use instead of giving it back to the system: an encoder that is opened
/// for each segment then finds its pages in place. To be called once, at the start; affects the whole process. Does nothing where
/// the C library is not glibc.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn reuse_freed_memory() {
    // glibc takes no more than half of the largest heap of a thread's own.
    const THRESHOLD: i32 = 32 << 20;
    crate::ffi::keep_freed_memory(THRESHOLD);
}

/// Does nothing: only glibc is told to keep memory.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn reuse_freed_memory() {}
