//! The C library's allocator, which keeps what it once had.
#![allow(unsafe_code, reason = "a function of the C library that no crate offers safely")]

/// Gives pages that hold nothing any more back to the system (malloc_trim(3)). Takes about as long as the heap has pages: a millisecond for some MiB.
/// Does nothing with a C library that has no such call.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> core::ffi::c_int;
        }
        // SAFETY: the signature is that of malloc_trim(3) in glibc, which may be called at any time by any thread and takes its own locks; it
        // frees only pages that no allocation uses.
        unsafe { malloc_trim(0) };
    }
}
