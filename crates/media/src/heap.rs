//! How the process shares memory that was freed, and what is in it.

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

/// Gives memory out filled with zeros, as a new process gets it from the kernel. SVT-AV1 2.3.0 reads some that it has not written: after another encoder
/// in the same process it gave other bytes in one segment of 25, and never with this, which costs about 1 % of its time. To be called once, at the start;
/// affects the whole process. Does nothing where the C library is not glibc.
pub fn clean_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    crate::ffi::clean_heaps();
}
