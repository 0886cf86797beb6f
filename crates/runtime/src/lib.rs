//! What makes a run reproducible: everything that differs between two runs of the same plan comes from here.
//!
//! | file             | responsibility                                                              |
//! | ---------------- | --------------------------------------------------------------------------- |
//! | `clock.rs`       | time: the machine's, or one a test moves by hand                            |
//! | `random.rs`      | randomness by domain: the system's, or drawn from a seed                    |
//! | `disk.rs`        | files: the trait, and what each call promises about power loss              |
//! | `disk/real.rs`   | the file system                                                             |
//! | `disk/memory.rs` | its twin in memory, which forgets what was not synced and fails on request  |
//! | `ctx.rs`         | one request: deadline, stop flag, priority, trace                           |
//! | `awake.rs`       | threads that look for work instead of sleeping                              |
//! | `pool.rs`        | the one compute pool: who goes first, who makes way; panics come back       |
//! | `thread.rs`      | threads that wait                                                           |
//!
//! Invariants: no other crate reads the clock, draws randomness, starts a compute thread or syncs a file. This crate
//! knows no noun of the product.
#![forbid(unsafe_code)]

mod awake;
mod clock;
mod ctx;
mod disk;
mod pool;
mod random;
mod thread;

pub use awake::awake;
pub use clock::{Clock, ManualClock, SystemClock};
pub use ctx::{Ctx, Priority, StageTime, StopOnDrop, Stopped};
pub use disk::{Disk, DiskFile, Fault, MemoryDisk, RealDisk, write_atomic};
pub use pool::{Lane, Pool, PoolError};
pub use random::{Random, SeededRandom, SystemRandom};
pub use thread::start_thread;
