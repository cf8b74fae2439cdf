//! Keeps what the process holds of memory close to what it uses: one heap for all threads, and freed pages given back to the
//! kernel. Depends on the C library's allocator only; with another C library than glibc it does nothing.

#![expect(unsafe_code, reason = "the allocator's settings have no safe interface")]

/// Allocations of so many bytes or more are mapped on their own, and given back as soon as they are freed. Fixed, because glibc
/// otherwise raises it to the largest that was ever freed, and such blocks then stay in the heap.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD_BYTES: libc::c_int = 128 * 1024;
/// So many free bytes at the heap's end are given back at once; less waits for [`trim`]. Below the buffers of a busy connection, every
/// one of them would be taken from the kernel and given back again.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD_BYTES: libc::c_int = 1024 * 1024;

/// Sets the allocator up for a small process with few threads; to be called first in `main`. With glibc's own choice every thread
/// gets a heap of its own, and what one thread allocates and another frees stays resident in both.
pub fn settle() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES),
        (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
    ] {
        // SAFETY: mallopt takes two integers and changes the allocator's settings under its own lock.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives free pages inside the heap back to the kernel. It takes time in proportion to the heap (well under a millisecond for a few
/// megabytes), in which other threads wait for memory: to be called now and then, not per request.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes an integer and works under the allocator's lock; it touches free memory only.
    unsafe {
        libc::malloc_trim(0)
    };
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
