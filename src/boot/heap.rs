//! What the C library's allocator does with large blocks.

/// Blocks from this size on, in bytes, go back to the system when they are freed: glibc's own first threshold.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GIVEN_BACK_FROM: i32 = 128 << 10;

/// Keeps glibc from raising that threshold, which it does to the size of whatever large block is freed, up to 32 MB. It
/// would keep what a large day took in the arena of each thread that worked on one, and ten days would need twice the
/// memory of one (`docs/SIZES.md`). To be called before anything large is allocated; elsewhere it does nothing.
pub fn give_large_blocks_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "mallopt has no other door; it sets a number under the allocator's own lock")]
    // SAFETY: it takes two integers and touches nothing of ours.
    let _ = unsafe { nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, GIVEN_BACK_FROM) };
}
