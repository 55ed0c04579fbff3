//! How the process shares memory that was freed.

/// Lets the threads of the process share as many heaps as there are cores, where glibc would give eight times as many. Encoders
/// come and go with many threads each, and every heap keeps what was freed in it: with fewer heaps an encoder finds the
/// memory of the one before. To be called once, at the start; affects the whole process. Does nothing where the C library is not glibc.
pub fn share_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        crate::ffi::limit_heaps(i32::try_from(cores.max(2)).unwrap_or(i32::MAX));
    }
}
