//! How the process shares memory that was freed, and how another one may be told to give it out clean.

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

/// Returns memory that was freed to the system, as after something that takes much of it for a short time. Does nothing where the C library is not
/// glibc.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    crate::ffi::trim_heaps();
}

/// The environment variable by which glibc is tuned, see [`clean`].
pub const TUNABLES: &str = "GLIBC_TUNABLES";

/// The value of [`TUNABLES`] with which a process gives memory out filled with zeros, as a new process gets it from the kernel, whatever its threads had in
/// it before: all that it gives out is filled, and no thread keeps blocks of its own, which would not be. `set` is what the user has set. SVT-AV1 2.3.0 reads
/// memory that it has not written: after another encoder in the same process it gave other bytes in one segment of 25, and never with this, which costs about
/// 1 % of its time. Other C libraries do not read it.
#[must_use]
pub fn clean(set: Option<&str>) -> String {
    // It fills with the complement of the first.
    let own = "glibc.malloc.perturb=255:glibc.malloc.tcache_count=0";
    set.filter(|set| !set.is_empty())
        .map_or_else(|| own.to_owned(), |set| format!("{set}:{own}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_has_set_stays() {
        assert!(
            clean(Some("glibc.malloc.arena_max=1")).starts_with("glibc.malloc.arena_max=1:glibc")
        );
        assert_eq!(clean(None), clean(Some("")));
    }
}
