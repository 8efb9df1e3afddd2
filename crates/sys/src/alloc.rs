//! The data plane's allocator: mimalloc, asked in its cheapest way.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mimalloc;

/// What every allocation of mimalloc is aligned to, if it is as long: as C asks of `malloc`.
const NATURAL_ALIGNMENT: usize = 16;

/// mimalloc as the global allocator.
///
/// The `mimalloc` crate states the alignment with each request. mimalloc 3 then allocates more and
/// aligns within, unless the size is a power of two: twice the instructions, for an alignment that
/// nearly all allocations have anyhow.
#[derive(Debug, Clone, Copy)]
pub struct Allocator;

fn is_natural(layout: Layout) -> bool {
    layout.align() <= NATURAL_ALIGNMENT && layout.align() <= layout.size()
}

// SAFETY: mimalloc returns memory of the size asked for or null, and never unwinds. Without a stated
// alignment it aligns to 16 bytes from a size of 16 on and to 8 from 8 on, which `is_natural` covers.
// Every pointer comes from mimalloc, whichever of its functions it came from, so that `mi_free` and
// `mi_realloc` take it.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let pointer = if is_natural(layout) {
            // SAFETY: takes any size.
            unsafe { mimalloc::mi_malloc(layout.size()) }
        } else {
            // SAFETY: the alignment is a power of two, as every layout's.
            unsafe { mimalloc::mi_malloc_aligned(layout.size(), layout.align()) }
        };
        pointer.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let pointer = if is_natural(layout) {
            // SAFETY: as in `alloc`.
            unsafe { mimalloc::mi_zalloc(layout.size()) }
        } else {
            // SAFETY: as in `alloc`.
            unsafe { mimalloc::mi_zalloc_aligned(layout.size(), layout.align()) }
        };
        pointer.cast()
    }

    unsafe fn dealloc(&self, pointer: *mut u8, _layout: Layout) {
        // SAFETY: the caller got the pointer from us.
        unsafe { mimalloc::mi_free(pointer.cast()) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let new = Layout::from_size_align(size, layout.align());
        let moved = if new.is_ok_and(is_natural) {
            // SAFETY: the caller got the pointer from us.
            unsafe { mimalloc::mi_realloc(pointer.cast(), size) }
        } else {
            // SAFETY: as above; the alignment is the one it was allocated with.
            unsafe { mimalloc::mi_realloc_aligned(pointer.cast(), size, layout.align()) }
        };
        moved.cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_is_aligned_also_after_growing() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for size in [1, 3, 8, 15, 16, 17, 24, 40, 100, 1000, 1500, 9000, 100_000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: sizes are not zero, each pointer is used with its own layout and freed once.
                unsafe {
                    let zeroed = Allocator.alloc_zeroed(layout);
                    assert_eq!(zeroed.addr() % align, 0, "zeroed {layout:?}");
                    assert!((0..size).all(|at| *zeroed.add(at) == 0));
                    let pointer = Allocator.alloc(layout);
                    assert_eq!(pointer.addr() % align, 0, "{layout:?}");
                    pointer.write_bytes(7, size);
                    let grown = Allocator.realloc(pointer, layout, size * 3);
                    assert_eq!(grown.addr() % align, 0, "grown {layout:?}");
                    assert!((0..size).all(|at| *grown.add(at) == 7));
                    Allocator.dealloc(grown, Layout::from_size_align(size * 3, align).unwrap());
                    Allocator.dealloc(zeroed, layout);
                }
            }
        }
    }
}
