//! The program `ibid`: everything is in the library.

use mimalloc::MiMalloc;

// A write's bytes are made in one thread and freed in another. Half as many again are acknowledged a second as with glibc's
// allocator, whose arenas such threads lock against each other: `ibid torture --kills 0`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    ibid::cli::run()
}
