//! Products of bytes on AMX (Intel 64 and IA-32 Architectures SDM, vol. 1 ch. 18): eight tiles of 16 rows of 64 bytes.
//!
//! Rust has no AMX intrinsics yet, so the instructions are written out. Tiles are a thread's own: they are set up and
//! released round each product, and what they hold lives within one block of instructions.

use std::arch::asm;
use std::marker::PhantomData;

use super::rows::{QUANTIZED_ROWS, Quantized};
use super::tile::{PANEL, Sums};

/// Bytes of a tile's row: the inner elements that one instruction takes.
pub(crate) const TILE_BYTES: usize = 64;

/// Rows of a tile.
const TILE_ROWS: usize = 16;

/// Bytes of all that one instruction takes of a panel.
const PANEL_STEP: usize = TILE_BYTES * PANEL;

/// Eight tiles at their full size, which the thread has until this is dropped.
pub(crate) struct AmxTiles {
    of_this_thread: PhantomData<*const ()>,
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Whether the processor has AMX for int8 and the system lets this process use it, which it has to ask for.
#[allow(unsafe_code)]
pub(crate) fn permitted() -> bool {
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    let leaves = std::arch::x86_64::__cpuid(0).eax;
    if leaves < 7 || std::arch::x86_64::__cpuid_count(7, 0).edx & (AMX_TILE | AMX_INT8) != AMX_TILE | AMX_INT8 {
        return false;
    }
    #[cfg(target_os = "linux")]
    {
        /// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`, for the whole process (Linux, arch/x86/xstate.rst).
        const ARCH_PRCTL: i64 = 158;
        const REQUEST: i64 = 0x1023;
        const TILE_DATA: i64 = 18;
        let refused: i64;
        // SAFETY: the call takes two numbers and touches no memory of this process; an old kernel answers with an error.
        unsafe {
            asm!("syscall", inlateout("rax") ARCH_PRCTL => refused, in("rdi") REQUEST, in("rsi") TILE_DATA,
                out("rcx") _, out("r11") _, options(nostack));
        }
        refused == 0
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Runs `work` with the thread's tiles set up. Nothing in `work` may call this again.
#[allow(unsafe_code)]
pub(crate) fn with_tiles(work: impl FnOnce(&AmxTiles)) {
    // SAFETY: who comes here has an `Isa` with AMX, which exists only where `permitted` said so; the tiles hold nothing of
    // anybody's (see the head of this file), and the configuration is 64 bytes as the instruction reads them.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _);
    }
    work(&AmxTiles { of_this_thread: PhantomData });
}

impl Drop for AmxTiles {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: forgets what is in the tiles, which nobody reads any more.
        unsafe {
            asm!("tilerelease", options(nostack, nomem),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _);
        }
    }
}

impl AmxTiles {
    /// `sums = left * panel`; 16 rows of sums are written, or 32 if `left` has more than 16.
    ///
    /// # Panics
    /// If the panel has not as many inner elements as the rows of `left`.
    #[allow(unsafe_code)]
    pub(crate) fn multiply(&self, left: &Quantized, panel: &[i8], sums: &mut Sums) {
        let (stride, steps) = (left.stride(), left.stride() / TILE_BYTES);
        assert!(stride.is_multiple_of(TILE_BYTES) && stride > 0 && panel.len() == stride * PANEL, "rows of {stride}");
        assert_eq!(left.codes().len(), stride * QUANTIZED_ROWS, "room for all rows");
        let (left_bytes, right, out) = (left.codes().as_ptr(), panel.as_ptr(), sums.as_mut_ptr());
        if left.rows() > TILE_ROWS {
            // SAFETY: `self` says that the tiles are set up. Read are `steps` x 64 bytes of 32 rows, and as many of the panel's
            // 32 columns; written are 32 rows of 32 sums: the lengths are asserted above and said by `Sums`.
            unsafe {
                asm!(
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{upper} + {stride}]",
                    "tileloadd tmm6, [{right} + {right_stride}]",
                    "tileloadd tmm7, [{right} + {right_stride} + 64]",
                    "tileloadd tmm5, [{lower} + {stride}]",
                    "tdpbusd tmm0, tmm4, tmm6",
                    "tdpbusd tmm1, tmm4, tmm7",
                    "tdpbusd tmm2, tmm5, tmm6",
                    "tdpbusd tmm3, tmm5, tmm7",
                    "add {upper}, 64", "add {lower}, 64", "add {right}, {panel_step}",
                    "dec {steps}", "jnz 2b",
                    "tilestored [{out} + {right_stride}], tmm0",
                    "tilestored [{out} + {right_stride} + 64], tmm1",
                    "tilestored [{out} + {right_stride} + 2048], tmm2",
                    "tilestored [{out} + {right_stride} + 2112], tmm3",
                    upper = inout(reg) left_bytes => _,
                    lower = inout(reg) left_bytes.add(TILE_ROWS * stride) => _,
                    right = inout(reg) right => _,
                    stride = in(reg) stride,
                    right_stride = in(reg) PANEL * 4,
                    panel_step = const PANEL_STEP,
                    steps = inout(reg) steps => _,
                    out = in(reg) out,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        } else {
            // SAFETY: as above, for 16 rows.
            unsafe {
                asm!(
                    "tilezero tmm0", "tilezero tmm1",
                    "2:",
                    "tileloadd tmm4, [{upper} + {stride}]",
                    "tileloadd tmm6, [{right} + {right_stride}]",
                    "tileloadd tmm7, [{right} + {right_stride} + 64]",
                    "tdpbusd tmm0, tmm4, tmm6",
                    "tdpbusd tmm1, tmm4, tmm7",
                    "add {upper}, 64", "add {right}, {panel_step}",
                    "dec {steps}", "jnz 2b",
                    "tilestored [{out} + {right_stride}], tmm0",
                    "tilestored [{out} + {right_stride} + 64], tmm1",
                    upper = inout(reg) left_bytes => _,
                    right = inout(reg) right => _,
                    stride = in(reg) stride,
                    right_stride = in(reg) PANEL * 4,
                    panel_step = const PANEL_STEP,
                    steps = inout(reg) steps => _,
                    out = in(reg) out,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    }
}
