//! Keeps what the process holds of memory close to what it uses: one heap for all threads, freed pages given back to the kernel, and
//! pages of the program that only its start needed unmapped. Depends on the C library's allocator, and on what the linker says of
//! where the program lies; with another C library than glibc the heap is left alone.

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

unsafe extern "C" {
    /// Where the program's file is mapped (made by the linker).
    static __ehdr_start: u8;
    /// The end of its code. Behind it is what was written to when the program was loaded.
    static etext: u8;
}

/// Unmaps the program's code and constants. What is used comes back from the page cache when it is used, 64 KiB at once, for some
/// microseconds; what only the start needed does not, and is most of it. To be called now and then, as [`trim`] is.
pub fn unmap_unused_code() {
    // SAFETY: sysconf takes an integer.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0);
    let (begin, end) = (&raw const __ehdr_start as usize, &raw const etext as usize);
    if !page.is_power_of_two() || end <= begin {
        return;
    }
    let length = (end & !(page - 1)).saturating_sub(begin);
    // SAFETY: the range is the program's read-only segments, which are mapped from its file and never written to (a program
    // with relocations in its code does not link): the kernel reads any page of it again from the file.
    unsafe { libc::madvise(begin as *mut libc::c_void, length, libc::MADV_DONTNEED) };
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
