//! What the processor can do, and which of it the kernels use.
//!
//! Asked once. An [`Isa`] is made here alone, by asking the processor, so that whoever holds one may call the kernels
//! compiled for it.

use std::fmt;
use std::sync::LazyLock;

use ibid_runtime::{Clock, Pool, SystemClock};

use crate::kernels::fma_chains;

/// The instructions that this processor has and the kernels use: one set for floats, one for int8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa {
    floats: Floats,
    bytes: Bytes,
}

/// Instructions for floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floats {
    /// Whatever the target has of its own, such as SSE2 or NEON.
    Plain,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

/// Instructions for sums of products of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// Whatever the target has of its own.
    Plain,
    /// AVX2: products of 16 bits.
    Avx2,
    /// AVX-VNNI: four products a lane and instruction, 256 bits wide.
    AvxVnni,
    /// AVX-512 VNNI: the same at 512 bits.
    Avx512Vnni,
    /// AMX: 16 x 64 bytes times 64 x 16 bytes an instruction.
    Amx,
}

/// The best of this processor.
pub fn isa() -> Isa {
    static BEST: LazyLock<Isa> = LazyLock::new(|| {
        let best = "the plain kernels run everywhere";
        Isa { floats: *floats().last().expect(best), bytes: *bytes().last().expect(best) }
    });
    *BEST
}

impl Isa {
    /// What the kernels for floats use.
    pub(crate) fn floats(self) -> Floats {
        self.floats
    }

    /// What the kernels for int8 use.
    pub(crate) fn bytes(self) -> Bytes {
        self.bytes
    }

    /// Every set that this processor has, for tests.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Isa> {
        floats().into_iter().flat_map(|floats| bytes().into_iter().map(move |bytes| Isa { floats, bytes })).collect()
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in floats().iter().map(|one| one.name()).chain(bytes().iter().skip(1).map(|one| one.name())) {
            write!(f, "{name} ")?;
        }
        write!(f, "(f32: {}, int8: {})", self.floats.name(), self.bytes.name())
    }
}

impl Floats {
    fn name(self) -> &'static str {
        match self {
            Floats::Plain => std::env::consts::ARCH,
            Floats::Avx2 => "avx2",
            Floats::Avx512 => "avx512f",
        }
    }
}

impl Bytes {
    fn name(self) -> &'static str {
        match self {
            Bytes::Plain => std::env::consts::ARCH,
            Bytes::Avx2 => "avx2",
            Bytes::AvxVnni => "avx_vnni",
            Bytes::Avx512Vnni => "avx512_vnni",
            Bytes::Amx => "amx_int8",
        }
    }
}

/// What there is for floats, the best last.
#[cfg(target_arch = "x86_64")]
fn floats() -> Vec<Floats> {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let has = [(Floats::Plain, true), (Floats::Avx2, avx2), (Floats::Avx512, avx512)];
    has.into_iter().filter_map(|(one, has)| has.then_some(one)).collect()
}

/// What there is for int8, the best last.
#[cfg(target_arch = "x86_64")]
fn bytes() -> Vec<Bytes> {
    let avx2 = is_x86_feature_detected!("avx2");
    let avx512_vnni = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
    let has = [
        (Bytes::Plain, true),
        (Bytes::Avx2, avx2),
        (Bytes::AvxVnni, avx2 && is_x86_feature_detected!("avxvnni")),
        (Bytes::Avx512Vnni, avx512_vnni),
        (Bytes::Amx, avx512_vnni && crate::kernels::amx::permitted()),
    ];
    has.into_iter().filter_map(|(one, has)| has.then_some(one)).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn floats() -> Vec<Floats> {
    vec![Floats::Plain]
}

#[cfg(not(target_arch = "x86_64"))]
fn bytes() -> Vec<Bytes> {
    vec![Bytes::Plain]
}

/// The most multiplications and additions of floats that the threads of `pool` do together, in GFLOP/s: products kept in
/// registers, for about 50 ms. It is the floor under every f32 product, and differs with the processor's clock.
pub fn fma_peak(pool: &Pool) -> f64 {
    /// Rounds between two looks at the clock, some tenths of a millisecond.
    const ROUNDS: usize = 20_000;
    let (isa, clock) = (isa(), SystemClock::new());
    let of_thread = || {
        let start = clock.monotonic();
        let mut operations = 0;
        while (clock.monotonic() - start).as_millis() < 50 {
            operations += fma_chains(isa, ROUNDS);
        }
        operations as f64 / (clock.monotonic() - start).as_secs_f64() / 1e9
    };
    pool.install(|| rayon::broadcast(|_| of_thread())).into_iter().sum()
}
